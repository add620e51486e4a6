"""A corpus as documents: files, folders and Hugging Face data sets behind one sequence of texts."""

import difflib
import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lm_objectives.data.hub import may_be_on_hub

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

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


class Documents(Sequence[str]):
    """The texts of a corpus, memory-mapped; a missing text is empty. Its scratch files go when it goes."""

    def __init__(self, column: Sequence[str | None], scratch: str) -> None:
        self._column = column
        self._finalizer = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [text or "" for text in self._column[index]]
        return self._column[index] or ""

    def __iter__(self) -> Iterator[str]:
        return (text or "" for text in self._column)


def shipped_corpus() -> Path:
    """The corpus in the package: State of the Union addresses, 1946 to 2026."""
    return Path(str(resources.files("lm_objectives.data"))) / "corpora" / "sotu_1946_2026.jsonl.gz"


def find_sources(corpus: str | list[str] | None) -> list[Source]:
    """What a corpus consists of, from the file system alone; nothing is opened.

    Args:
        corpus: a path, several, or `None` for the shipped corpus. A path is a file (`.txt`, `.jsonl`, `.json`, also as
            `.gz`, `.parquet`), a folder of such files at any depth (in the order of their paths, hidden ones left out),
            a folder written by `save_to_disk`, or, where neither it nor its parent exists, the `owner/name` of a data
            set on the hub.

    Raises:
        ValueError: when a path is missing, cannot be read, or holds no readable file.
    """
    if corpus is None:
        return _sources_of(str(shipped_corpus()))
    paths = [corpus] if isinstance(corpus, str) else list(corpus)
    if not paths:
        raise ValueError("expected the path of a corpus, found an empty list; name a file, a folder or a data set")
    return [source for path in paths for source in _sources_of(path)]


def read_documents(
    corpus: str | list[str] | None, text_field: str = "text", scratch: str | Path | None = None
) -> Documents:
    """The documents of a corpus, in the order of its paths; plain text files are one document each.

    Args:
        corpus: as in `find_sources`. A data set with splits gives its `train` split, or the only one it has.
        text_field: name of the column with the text; plain text files have none and need none.
        scratch: folder for temporary files, about as large as the text; the system's own for `None`. A data set from
            the hub is kept in the hub's usual cache instead, so that it is downloaded once.

    Raises:
        ValueError: when the corpus is missing or unreadable, has no such field, or has no text in it at all.
    """
    sources = find_sources(corpus)
    folder = tempfile.mkdtemp(prefix="corpus-", dir=scratch)
    try:
        with _quiet():
            from datasets import concatenate_datasets

            parts = [_column(_load(source, folder), source, text_field) for source in sources if _has_bytes(source)]
            column: Sequence[str | None] = concatenate_datasets(parts)[text_field] if parts else []
        if not any(text and not text.isspace() for text in column):
            names = ", ".join(dict.fromkeys(source.name for source in sources))
            raise ValueError(f"expected documents with text, found only empty ones in {names}; check the corpus")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Documents(column, folder)


def _sources_of(name: str) -> list[Source]:
    path = Path(name).expanduser()
    if path.is_file():
        kind = _kind(path)
        if kind is None:
            raise ValueError(f"expected a corpus as {_READABLE}, found {name}; convert it to one of these")
        return [Source(name, kind, (path,))]
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return [Source(name, "disk", tuple(files))]
        groups = groupby((file for file in files if _kind(file)), key=_kind)
        sources = [Source(name, kind, tuple(group)) for kind, group in groups if kind]
        if not sources:
            raise ValueError(f"expected a folder with {_READABLE} files, found none in {name}; check the path")
        return sources
    if "/" in name and may_be_on_hub(name) and _kind(path) is None:
        return [Source(name, "hub")]
    raise ValueError(f"expected the path of a corpus, found nothing at {name}; check the path")


def _kind(path: Path) -> Kind | None:
    name = path.name.lower()
    zipped = name.endswith(".gz")
    kind = _KINDS.get(Path(name.removesuffix(".gz")).suffix)
    return None if zipped and kind == "parquet" else kind


def _has_bytes(source: Source) -> bool:
    # `datasets` fails on a group of files that are all empty.
    return source.kind == "hub" or any(file.stat().st_size for file in source.files)


def _load(source: Source, scratch: str) -> "Dataset":
    from datasets import DatasetDict, load_dataset, load_from_disk

    try:
        if source.kind == "hub":
            data = load_dataset(source.name)
        elif source.kind == "disk":
            data = load_from_disk(str(Path(source.name).expanduser()))
        else:
            data = _load_files(source, scratch)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        if source.kind == "hub":
            expected = f"expected a path or a data set on the hub, found neither under {source.name}"
            raise ValueError(f"{expected}; check the spelling and the network ({reason})") from error
        raise ValueError(
            f"expected a well-formed corpus in UTF-8 whose files have the same fields, found {source.name} to be none; "
            f"mend it, or list files with different fields one by one ({reason})"
        ) from error
    if isinstance(data, DatasetDict):
        if "train" not in data and len(data) != 1:
            raise ValueError(
                f"expected a data set with a train split, found {', '.join(data)} in {source.name}; "
                "save the split to train on by itself"
            )
        data = data["train"] if "train" in data else next(iter(data.values()))
    return data


def _load_files(source: Source, scratch: str) -> "DatasetDict":
    from datasets import load_dataset

    options: dict[str, Any] = {"sample_by": "document"} if source.kind == "text" else {}
    with tempfile.TemporaryDirectory(prefix="corpus-") as links:
        # `datasets` takes paths for patterns and addresses: brackets, colons and stars in them need plain names.
        files = []
        for number, file in enumerate(file for file in source.files if file.stat().st_size):
            link = Path(links, f"{number:09d}{''.join(file.suffixes[-1 - (file.suffix == '.gz') :])}")
            link.symlink_to(file.resolve())
            files.append(str(link))
        return load_dataset(source.kind, data_files=files, cache_dir=scratch, **options)


def _column(data: "Dataset", source: Source, text_field: str) -> "Dataset":
    """The data with its text alone, under the name `text_field`."""
    from datasets import Features, Value

    field = "text" if source.kind == "text" else text_field
    if field not in data.column_names:
        nearest = difflib.get_close_matches(field, data.column_names, n=1, cutoff=0.0)
        raise ValueError(
            f"expected a text field {field!r}, found {', '.join(data.column_names)} in {source.name}; "
            f"set text_field, perhaps to {nearest[0]!r}"
        )
    kind = getattr(data.features[field], "dtype", "a structure")
    if kind not in ("string", "large_string", "null"):
        raise ValueError(
            f"expected text in field {field!r}, found {kind} in {source.name}; set text_field to one with text"
        )
    data = data.select_columns([field])
    if field != text_field:
        data = data.rename_column(field, text_field)
    if kind != "string":
        # Parts are put together only where their types are one.
        data = data.cast(Features({text_field: Value("string")}), keep_in_memory=kind == "null")
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines of the libraries that read; their settings are as before afterwards."""
    import datasets

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
