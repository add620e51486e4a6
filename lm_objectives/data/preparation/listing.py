"""The files of folders, patterns and URLs, and what among them cannot be read."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lm_objectives.data.preparation.notices import not_read
from lm_objectives.data.preparation.storage import File, RemoteFile, remote_place
from lm_objectives.errors import InputError, one_line


@dataclass
class Listing:
    """Files in the order of their paths, without hidden ones.

    Attributes:
        root: how names are cut short, in notices.
        files: those found.
        folders: those that a pattern has matched.
        unreadable: folders that cannot be listed, and files that are none: links to nothing, or in such a folder.
        links: to folders, which are not followed, since they may lead round in a circle.
    """

    root: str
    files: list[File] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def called(self, file: File) -> str:
        """A file's name in notices."""
        return self._short(str(file))

    def add(self, other: "Listing") -> None:
        """Append what was found in a folder; what is here already goes from it: `**/*` matches folders and files."""
        for name in ("files", "unreadable", "links"):
            own, others = getattr(self, name), getattr(other, name)
            known = {*own}
            others[:] = [item for item in others if item not in known]
            own += others

    def notices(self, name: str) -> Iterator[str]:
        """Lines on what could not be listed."""
        mend = "let this user read them"
        yield from not_read(name, "folders and files that cannot be read", [*map(self._short, self.unreadable)], mend)
        mend = "name them in data.corpus, or a pattern that matches them"
        yield from not_read(name, "links to folders", [*map(self._short, self.links)], mend)

    def _short(self, name: str) -> str:
        return name.removeprefix(self.root)


def list_folder(path: Path) -> Listing:
    """The files of a folder at any depth.

    Raises:
        InputError: when the folder itself cannot be listed.
    """
    found = Listing(f"{path}{os.sep}")
    files: list[Path] = []

    def note(error: OSError) -> None:
        if Path(error.filename) == path:
            raise InputError(
                f"expected a folder that can be read, found {path} ({error.strerror}): let this user read it"
            ) from error
        found.unreadable.append(str(error.filename))

    for folder, folders, names in os.walk(path, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.links += [str(Path(folder, name)) for name in folders if os.path.islink(os.path.join(folder, name))]
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            if os.path.isfile(file):
                files.append(file)
            else:
                found.unreadable.append(str(file))
    found.files += sorted(files)
    return found


def list_matches(pattern: str) -> Listing | None:
    """The files and folders that a pattern matches; `None` where it is no pattern."""
    if not glob.has_magic(pattern):
        return None
    found = Listing("")
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    found.files += [match for match in matches if match.is_file()]
    found.folders += [match for match in matches if match.is_dir()]
    searched = {*found.folders}
    for parent in Path(pattern).parents:  # in which it looks, and would find nothing where it may not
        searched |= {Path(match) for match in glob.glob(str(parent), recursive=True)}
    closed = [str(folder) for folder in searched if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)]
    found.folders = [folder for folder in found.folders if str(folder) not in closed]
    found.unreadable += sorted(closed)
    return found


def list_remote(url: str) -> Listing:
    """The files behind a URL: one, those of a folder, or those that match a pattern.

    Of a web server it is always one file: what looks like a pattern is part of its address.

    Raises:
        InputError: when nothing is there, or its server does not answer.
    """
    fs, path = remote_place(url)
    if RemoteFile(fs, path).streams:
        return Listing("", [RemoteFile(fs, path)])
    try:
        if glob.has_magic(path):
            paths = [match for match in fs.glob(path) if not fs.isdir(match)]
            root = ""
        else:
            paths = fs.find(path)
            root = f"{fs.unstrip_protocol(path).rstrip('/')}/" if paths != [path] else ""
    except Exception as error:  # each file system raises its own
        raise InputError(f"expected files at {url}, found none ({one_line(error)}): check the URL") from error
    hidden = len(path.split("/")) if root else 0
    shown = [file for file in sorted(paths) if not any(part.startswith(".") for part in file.split("/")[hidden:])]
    return Listing(root, [RemoteFile(fs, file) for file in shown])
