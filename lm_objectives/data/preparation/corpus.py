"""What a corpus consists of: files, folders, patterns, URLs and Hugging Face data sets, found without opening any."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from lm_objectives.data.preparation.listing import Listing, list_folder, list_matches, list_remote
from lm_objectives.data.preparation.notices import not_read, told
from lm_objectives.data.preparation.storage import COMPRESSED, File, is_url
from lm_objectives.errors import InputError, expect
from lm_objectives.files import may_be_on_hub

Format = Literal["text", "jsonl", "csv", "parquet"]

Kind = Literal[Format, "disk", "hub"]

_KINDS: dict[str, Format] = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}

_ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".zip", ".7z", ".rar")

_READABLE = f".txt, .jsonl, .ndjson, .json, .csv, .tsv (each also as {', '.join(COMPRESSED)}) or .parquet"

_NAME_IT = "data.format says how to read files of any name"

_HUB_NAME = re.compile(r"([^:]+)(?::([\w.+-]*))?(?::([\w.+\[\]:%-]+))?")


@dataclass(frozen=True)
class Source:
    """Files of one format that are read together.

    Attributes:
        name: the path or the hub's name, as it was given.
        kind: how to read it; `disk` is a data set written by `save_to_disk`, `hub` one by its name.
        files: everything that the documents depend on, in the order in which it is read; none for the hub.
    """

    name: str
    kind: Kind
    files: tuple[File, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """One corpus of a mixture.

    Attributes:
        name: the path, as it was given.
        sources: what is read of it, in this order.
        notices: a line on each kind of thing that lies there and is not read.
    """

    name: str
    sources: tuple[Source, ...]
    notices: tuple[str, ...] = ()

    def described(self) -> list[list[object]]:
        """Its sources as plain data, without the content of their files."""
        return [[s.kind, s.name if s.kind == "hub" else len(s.files)] for s in self.sources]


def shipped_corpus() -> Path:
    """The corpus in the package: State of the Union addresses, 1946 to 2026."""
    return Path(str(resources.files("lm_objectives.data"))) / "corpora" / "sotu_1946_2026.jsonl.gz"


def find_corpora(corpus: str | Sequence[str] | None, form: Format | None = None) -> list[Corpus]:
    """What each corpus of a mixture consists of, from names alone.

    Args:
        corpus: a path, or several, each of which is one corpus of the mixture, or `None` for the shipped one. A path is
            a file (`.txt`, `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, also as `.gz`, `.bz2`, `.xz`, `.zst`;
            `.parquet`), a folder of such files at any depth (in the order of their paths, hidden ones left out), a
            folder written by `save_to_disk`, a pattern (`texts/*.jsonl`) of any of these, a URL of a file, and but for
            http of a folder or pattern too, or, where neither it nor its parent exists, a data set on the hub:
            `owner/name`, `owner/name:config`, `owner/name:config:split`.
        form: how to read all files, whatever they are called; `None` goes by their suffixes.

    Raises:
        InputError: when a path is missing, cannot be read, or holds no readable file.
    """
    if corpus is None:
        return [_find(str(shipped_corpus()), None)]
    paths = [corpus] if isinstance(corpus, str) else list(corpus)
    expect(bool(paths), "the path of a corpus", "an empty list", "name a file, a folder or a data set")
    return [_find(path, form) for path in paths]


def check_format(form: str | None) -> str | None:
    """The setting, when it is one."""
    forms = get_args(Format)
    mend = "leave it out where suffixes say it"
    expect(form is None or form in forms, f"data.format as {', '.join(forms)}", repr(form), mend)
    return form


def hub_name(name: str) -> tuple[str, str | None, str | None] | None:
    """The parts of `owner/name:config:split`, the last two of which may be left out; `None` for what is no such name.

    >>> hub_name("Salesforce/wikitext:wikitext-2-raw-v1")
    ('Salesforce/wikitext', 'wikitext-2-raw-v1', None)
    >>> hub_name("owner/name::validation")
    ('owner/name', None, 'validation')
    """
    found = _HUB_NAME.fullmatch(name)
    if not found or not may_be_on_hub(found[1]) or ("/" not in found[1] and ":" not in name):
        return None
    return found[1], found[2] or None, found[3]


def _find(name: str, form: Format | None) -> Corpus:
    if is_url(name):
        listing = list_remote(name)
        sources = _group(name, listing.files, form)
        return _corpus(name, listing, form, sources, f"{_READABLE} files at {name}", "check the URL")
    path = Path(name).expanduser()
    if path.is_file():
        kind = _kind(path, form)
        if kind is None:
            mend = "unpack it" if _is_archive(path) else f"convert it to one of these; {_NAME_IT}"
            raise InputError(f"expected a corpus as {_READABLE}, found {name}: {mend}")
        return Corpus(name, (Source(name, kind, (path,)),), tuple(_otherwise_named(name, {name: path}, form)))
    if path.is_dir():
        listing = list_folder(path)
        sources = _sources(name, path, listing, form)
        if _is_dataset(path):
            return Corpus(name, tuple(sources), tuple(listing.notices(name)))
        return _corpus(name, listing, form, sources, f"a folder with {_READABLE} files", "check the path")
    if hub_name(name) and _kind(path, None) is None:
        return Corpus(name, (Source(name, "hub"),))
    if (matches := list_matches(str(path))) is not None:
        sources = _group(name, matches.files, form)
        for folder in matches.folders:
            listing = list_folder(folder)
            if not _is_dataset(folder):
                matches.add(listing)
            sources += _sources(name, folder, listing, form)
        matches.links = [link for link in matches.links if Path(link) not in matches.folders]
        return _corpus(name, matches, form, sources, f"{_READABLE} files that match {name}", "check the pattern")
    raise InputError(f"expected the path of a corpus, found nothing at {name}: check the path")


def _is_dataset(folder: Path) -> bool:
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _sources(name: str, folder: Path, listing: Listing, form: Format | None) -> list[Source]:
    if _is_dataset(folder):
        return [Source(str(folder), "disk", tuple(listing.files))]
    return _group(name, listing.files, form)


def _group(name: str, files: Iterable[File], form: Format | None) -> list[Source]:
    groups = groupby((file for file in files if _kind(file, form)), key=lambda file: _kind(file, form))
    return [Source(name, kind, tuple(group)) for kind, group in groups if kind]


def _corpus(
    name: str, listing: Listing, form: Format | None, sources: list[Source], expected: str, mend: str
) -> Corpus:
    others = [file for file in listing.files if not _kind(file, form)]
    archives = [listing.called(file) for file in others if _is_archive(file)]
    unknown = [listing.called(file) for file in others if not _is_archive(file)]
    notices = [*not_read(name, "archives", archives, "unpack them")]
    notices += not_read(name, "files of other kinds", unknown, _NAME_IT)
    notices += _otherwise_named(name, {listing.called(file): file for file in listing.files}, form)
    notices += listing.notices(name)
    expect(bool(sources), expected, "; ".join([f"none in {name}", *notices]), mend)
    return Corpus(name, tuple(sources), tuple(notices))


def _otherwise_named(place: str, files: Mapping[str, File], form: Format | None) -> Iterator[str]:
    """A line on files whose names say another format than the one that is set for all."""
    names = [name for name, file in files.items() if form is not None and _kind(file, None) not in (None, form)]
    yield from told(
        f"read as {form} in {place}", "files whose names say otherwise", names, "data.format is for all files"
    )


def _plain_suffix(file: File) -> str:
    """The suffix of a file's name, below that of its compression."""
    path = Path(file.name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def _is_archive(file: File) -> bool:
    return _plain_suffix(file) in _ARCHIVES


def _kind(file: File, form: Format | None) -> Format | None:
    if form is not None:
        return None if _is_archive(file) else form
    kind = _KINDS.get(_plain_suffix(file))
    return None if kind == "parquet" and not file.name.lower().endswith(".parquet") else kind
