"""Texts in every form in which they are read, and what is read of them."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from lm_objectives.data.preparation.corpus import find_corpora
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents

TEXTS = ["One.\n\nTwo.", "Three é 你好。"]


def documents_of(corpus: Any, text_field: str = "text", documents: str = "file", form: Any = None) -> Documents:
    return Documents(find_corpora(corpus, form), text_field, DocumentRule(documents))


def read(corpus: Any, text_field: str = "text", documents: str = "file", form: Any = None) -> list[str]:
    """The documents, their pieces put together."""
    texts: list[str] = []
    for piece in documents_of(corpus, text_field, documents, form):
        if piece.begins:
            texts.append("")
        texts[-1] += piece.text
    return texts


def lines(texts: list[str]) -> str:
    return "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".ZST": lambda content: zstd(content[:9]) + zstd(content[9:]),  # two frames, as parallel compressors write them
}


def _table(delimiter: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["id", "text"], *enumerate(TEXTS)])
    return out.getvalue()


CONTENTS: dict[str, str] = {
    "jsonl": "\n" + lines(TEXTS),
    "ndjson": lines(TEXTS).replace("\n", "\r\n"),
    "lines.json": lines(TEXTS),
    "json": json.dumps([{"text": text, "n": 1} for text in TEXTS], indent=1),
    "csv": "\ufeff" + _table(","),
    "tsv": _table("\t"),
    "semicolon.csv": _table(";"),
}


def write(folder: Path, form: str) -> Path:
    path = folder / f"corpus [1]*.{form}"
    table = datasets.Dataset.from_dict({"text": TEXTS, "id": [0, 1]})
    if form in CONTENTS:
        path.write_bytes(CONTENTS[form].encode())
    elif form == "parquet":
        table.to_parquet(path)
    elif form == "disk":
        table.save_to_disk(path)
    elif form == "splits":
        datasets.DatasetDict({"test": table.select([0]), "train": table}).save_to_disk(path)
    else:
        path.mkdir()
        for number, text in enumerate(TEXTS):
            (path / f"{number}.txt").write_text(text)
    return path
