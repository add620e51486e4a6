"""What a corpus consists of: files, folders, patterns and Hugging Face data sets, found without opening anything."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Literal

from lm_objectives.errors import InputError, expect
from lm_objectives.files import may_be_on_hub

Kind = Literal["text", "json", "parquet", "disk", "hub"]

_KINDS: dict[str, Kind] = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}

_READABLE = ".txt, .jsonl, .json (each also as .gz) or .parquet"


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
    files: tuple[Path, ...] = ()


def shipped_corpus() -> Path:
    """The corpus in the package: State of the Union addresses, 1946 to 2026."""
    return Path(str(resources.files("lm_objectives.data"))) / "corpora" / "sotu_1946_2026.jsonl.gz"


def find_sources(corpus: str | Sequence[str] | None) -> list[list[Source]]:
    """What each corpus of a mixture consists of, from the file system alone.

    Args:
        corpus: a path, or several, each of which is one corpus of the mixture, or `None` for the shipped one. A path is
            a file (`.txt`, `.jsonl`, `.json`, also as `.gz`, `.parquet`), a folder of such files at any depth (in the
            order of their paths, hidden ones left out), a folder written by `save_to_disk`, a pattern (`texts/*.jsonl`)
            of any of these, or, where neither it nor its parent exists, the `owner/name` of a data set on the hub.

    Raises:
        InputError: when a path is missing, cannot be read, or holds no readable file.
    """
    if corpus is None:
        return [_sources_of(str(shipped_corpus()))]
    paths = [corpus] if isinstance(corpus, str) else list(corpus)
    expect(bool(paths), "the path of a corpus", "an empty list", "name a file, a folder or a data set")
    return [_sources_of(path) for path in paths]


def _sources_of(name: str) -> list[Source]:
    path = Path(name).expanduser()
    if path.is_file():
        kind = _kind(path)
        if kind is None:
            raise InputError(f"expected a corpus as {_READABLE}, found {name}: convert it to one of these")
        return [Source(name, kind, (path,))]
    if path.is_dir():
        sources = _folder(name, path)
        expect(bool(sources), f"a folder with {_READABLE} files", f"none in {name}", "check the path")
        return sources
    if glob.has_magic(name):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        sources = [source for match in matches if match.is_dir() for source in _folder(name, match)]
        sources = [*_group(name, (match for match in matches if match.is_file())), *sources]
        expect(bool(sources), f"{_READABLE} files that match {name}", "none", "check the pattern")
        return sources
    if "/" in name and may_be_on_hub(name) and _kind(path) is None:
        return [Source(name, "hub")]
    raise InputError(f"expected the path of a corpus, found nothing at {name}: check the path")


def _folder(name: str, path: Path) -> list[Source]:
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return [Source(str(path), "disk", tuple(files))]
    return _group(name, files)


def _group(name: str, files: Iterable[Path]) -> list[Source]:
    groups = groupby((file for file in files if _kind(file)), key=_kind)
    return [Source(name, kind, tuple(group)) for kind, group in groups if kind]


def _kind(path: Path) -> Kind | None:
    name = path.name.lower()
    zipped = name.endswith(".gz")
    kind = _KINDS.get(Path(name.removesuffix(".gz")).suffix)
    return None if zipped and kind == "parquet" else kind
