"""Read the documents of corpora, in the order of their paths."""

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_objectives.data.preparation.corpus import Source
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document, drop_empty_documents
from lm_objectives.data.preparation.text_files import TxtDocuments, read_json, read_txt
from lm_objectives.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS = 64  # of a table, read at once

_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair that JSON has escaped: no text has it alone

_TRIED = 1000  # records without the field after which no further one is read


class Documents:
    """The documents of each corpus that hold text.

    Args:
        corpora: the sources of each, as `find_sources` gives them.
        text_field: column or key of the text; plain text files have none and need none.
        txt_documents: whether a `.txt` file is one document, or each of its blocks between blank lines is one.

    Attributes:
        empty: documents without text in the corpora, once they have been read to their end.

    Reading raises a ValueError in one line for what cannot be read, with file and place.
    """

    def __init__(self, corpora: Sequence[Sequence[Source]], text_field: str, txt_documents: TxtDocuments) -> None:
        self.corpora, self.text_field, self.txt_documents = corpora, text_field, txt_documents
        self.empty = 0

    def __iter__(self) -> Iterator[DocumentPiece]:
        self.empty = 0
        for number, sources in enumerate(self.corpora):
            for piece in drop_empty_documents(self._count(chain.from_iterable(map(self._read, sources)))):
                self.empty -= piece.begins
                yield piece._replace(corpus=number)

    def _count(self, pieces: Iterable[DocumentPiece]) -> Iterator[DocumentPiece]:
        for piece in pieces:
            self.empty += piece.begins
            yield piece

    def _read(self, source: Source) -> Iterator[DocumentPiece]:
        if source.kind == "text":
            for file in source.files:
                yield from read_txt(file, self.txt_documents)
            return
        readers = {"json": _json_texts, "parquet": _parquet_texts}
        if read := readers.get(source.kind):
            texts: Iterable[str] = chain.from_iterable(read(file, self.text_field) for file in source.files)
        else:
            texts = _dataset_texts(source, self.text_field)
        for text in texts:
            yield from cut_document([text])


def _json_texts(file: Path, field: str) -> Iterator[str]:
    names: dict[str, None] = {}
    found = False
    for number, (line, record) in enumerate(read_json(file), 1):
        if not isinstance(record, dict):
            raise InputError(
                f"expected an object with a text field in {file}, found {_called(record)} in line {line}: "
                'write each document as {"text": "…"}'
            )
        if not found:
            found = field in record
            names |= dict.fromkeys(record)
            if not found and number == _TRIED:
                raise _no_field(field, list(names), str(file))
        text = record.get(field)
        if text is not None and not isinstance(text, str):
            raise _no_text(field, _called(text), f"{file}, line {line}")
        if text and _SURROGATE.search(text):
            raise InputError(f"expected text in UTF-8, found half a character in {file}, line {line}: mend the line")
        yield text or ""
    if names and not found:
        raise _no_field(field, list(names), str(file))


def _parquet_texts(file: Path, field: str) -> Iterator[str]:
    import pyarrow as arrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file, pre_buffer=False, buffer_size=2**20) as table:
            schema = table.schema_arrow
            if field not in schema.names:
                raise _no_field(field, schema.names, str(file))
            kind = schema.field(field).type
            if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_null(kind)):
                raise _no_text(field, str(kind), str(file))
            for batch in table.iter_batches(batch_size=_ROWS, columns=[field]):
                yield from (text or "" for text in batch.column(0).to_pylist())
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"expected a Parquet file, found none at {file} ({reason}): check it") from error


def _dataset_texts(source: Source, field: str) -> Iterator[str]:
    with _quiet():
        data = _load(source)
    if field not in data.column_names:
        raise _no_field(field, data.column_names, source.name)
    kind = getattr(data.features[field], "dtype", "a structure")
    if kind not in ("string", "large_string", "null"):
        raise _no_text(field, kind, source.name)
    for batch in data.select_columns([field]).iter(_ROWS):
        yield from (text or "" for text in batch[field])


def _load(source: Source) -> "Dataset":
    from datasets import DatasetDict, load_dataset, load_from_disk

    try:
        data = load_dataset(source.name) if source.kind == "hub" else load_from_disk(source.name)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        if source.kind == "hub":
            expected = f"expected a path or a data set on the hub, found neither under {source.name}"
            raise InputError(f"{expected}: check the spelling and the network ({reason})") from error
        raise InputError(
            f"expected a data set written by save_to_disk, found none at {source.name} ({reason}): write it anew"
        ) from error
    if isinstance(data, DatasetDict):
        if "train" not in data and len(data) != 1:
            raise InputError(
                f"expected a data set with a train split, found {', '.join(data)} in {source.name}: "
                "save the split to train on by itself"
            )
        data = data["train"] if "train" in data else next(iter(data.values()))
    return data


def _no_field(field: str, names: list[str], place: str) -> InputError:
    near = difflib.get_close_matches(field, names, n=len(names), cutoff=0.0) or names
    return InputError(
        f"expected a text field {field!r}, found {', '.join(near) or 'none'} in {place}: "
        f"set text_field{f', perhaps to {near[0]!r}' if near else ''}"
    )


def _no_text(field: str, kind: str, place: str) -> InputError:
    return InputError(f"expected text in field {field!r}, found {kind} in {place}: set text_field to one with text")


def _called(value: Any) -> str:
    return {list: "a list", dict: "an object", bool: "true or false"}.get(type(value)) or (
        "text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else "null"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines while a library reads; all settings are as before afterwards."""
    import datasets

    level, bars = logging.root.manager.disable, datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    logging.disable()
    try:
        yield
    finally:
        logging.disable(level)
        if not bars:
            datasets.enable_progress_bars()
