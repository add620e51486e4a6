"""Every form gives the documents that were written into it, and tells what it does not read."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet
from utils.reading_cases import COMPRESS, CONTENTS, TEXTS, documents_of, lines, read, write

from lm_objectives.data.preparation import documents as pieces
from lm_objectives.data.preparation import json_files, streams
from lm_objectives.data.preparation.corpus import shipped_corpus
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.split import read_keys, write_keys


@pytest.mark.parametrize("form", [*CONTENTS, "parquet", "disk", "splits", "folder"])
def test_gives_back_what_was_written(tmp_path: Path, form: str) -> None:
    assert read(str(write(tmp_path, form))) == TEXTS


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_compressed(tmp_path: Path, form: str, compression: str) -> None:
    """Oracle: the texts, of which other libraries have written each compression."""
    path = tmp_path / f"a.{form}{compression}"
    path.write_bytes(COMPRESS[compression](CONTENTS.get(form, TEXTS[0]).encode()))
    assert read(str(path)) == (TEXTS[:1] if form == "txt" else TEXTS)


@pytest.mark.parametrize(
    ("form", "name", "content"),
    [
        ("text", "wiki_00", TEXTS[0]),
        ("text", "a.md.gz", TEXTS[0]),
        ("jsonl", "part-00000", CONTENTS["jsonl"]),
        ("jsonl", "a.txt.xz", CONTENTS["jsonl"]),
        ("csv", "table.dat", CONTENTS["tsv"]),
        ("parquet", "shard-0", "parquet"),
    ],
)
def test_form_that_the_user_says(tmp_path: Path, form: str, name: str, content: str) -> None:
    written = write(tmp_path, "parquet").read_bytes() if content == "parquet" else content.encode()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(
        COMPRESS[(tmp_path / name).suffix if name[-2:] in ("gz", "xz") else ""](written)
    )
    for corpus in (tmp_path / "d", tmp_path / "d" / name, tmp_path / "d" / "*"):
        assert read(str(corpus), form=form) == (TEXTS[:1] if form == "text" else TEXTS)


KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", [*KINDS, pa.dictionary(pa.int8(), pa.large_string())], ids=str)
@pytest.mark.parametrize("field", ["text", "meta.text", "meta.own.text", "dotted.text"])
def test_every_type_of_string_and_field_of_a_table(tmp_path: Path, kind: pa.DataType, field: str) -> None:
    """Oracle: the texts; the null, and the text of a structure that is null, are documents without text."""
    if pa.types.is_dictionary(kind):
        numbers = pa.array([0, 1, None, 2], kind.index_type)
        column: Any = pa.DictionaryArray.from_arrays(numbers, pa.array([*TEXTS, "x"], kind.value_type))
    else:
        column = pa.array([*TEXTS, None, "x"], kind)
    assert column.type == kind
    names = [field] if field.startswith("dotted") else field.split(".")
    for name in names[:0:-1]:
        mask = pa.array([False, False, False, True])
        column = pa.StructArray.from_arrays([pa.array([1] * 4), column], ["n", name], mask=mask)
    texts = [*TEXTS, *["x"] * (len(names) == 1)]
    parquet.write_table(pa.table({names[0]: column, "z": [1] * 4}), tmp_path / "a.parquet")
    assert read(str(tmp_path / "a.parquet"), field) == texts
    if len(names) > 1 or kind == pa.string():
        records = [{"text": text, "meta": {"text": text, "own": {"text": text}}, "dotted.text": text} for text in TEXTS]
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        assert read(str(tmp_path / "a.jsonl"), field) == TEXTS
        datasets.Dataset.from_list(records).save_to_disk(tmp_path / "disk")
        assert read(str(tmp_path / "disk"), field) == TEXTS


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    """Fields and splits by name, once all is read; records count as documents whatever `documents` says."""
    texts = datasets.Dataset.from_dict({"text": TEXTS, "id": [0, 1], "url": ["", ""]})
    datasets.DatasetDict({"train": texts, "test": texts, "dev": texts}).save_to_disk(tmp_path / "d")
    record = {"text": "a", "meta": {"b": 1, "a": 2}, "title": "", "id": 0}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + '\n{"text": ""}\n')
    documents = documents_of([str(tmp_path / "d"), str(tmp_path / "a.jsonl")])
    assert len([*documents]) == 3
    assert [*documents.notices()] == [
        f"not read in {tmp_path}/d: fields, 2 (id, url): data.text_field names the one that is read",
        f"not read in {tmp_path}/d: splits, 2 (dev, test): name one as owner/name:config:split, or by its folder",
        f"not read in {tmp_path}/a.jsonl: fields, 4 (id, meta.a, meta.b, …): data.text_field names the one that is "
        "read",
        "left out: 1 document without text",
    ]
    documents = documents_of(str(tmp_path / "a.jsonl"), documents="line")
    assert len([*documents]) == 1
    assert f"each record in {tmp_path}/a.jsonl is a document: data.documents is for plain text alone" in [
        *documents.notices()
    ]


def test_shipped_corpus() -> None:
    with gzip.open(shipped_corpus(), "rt", encoding="utf-8") as lines:
        oracle = [json.loads(line)["text"] for line in lines]
    assert read(None) == oracle
    assert len(oracle) == 92


def test_a_paragraph_is_the_same_document_within_a_file_and_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"A.\nB.\n\n\nC.\r\nD.\r\n\r\nC.\nD.\n\n")
    documents = documents_of(str(tmp_path / "a.txt"), documents="blank-line")
    texts = [piece.text for piece in write_keys(documents, 0, tmp_path / "keys")]
    assert texts == ["A.\nB.", "C.\r\nD.", "C.\nD."]
    one, other, again = read_keys(tmp_path / "keys")
    assert one != other == again
    assert documents.empty == 0


def test_an_array_on_one_line_is_not_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: what Python holds at most, against the 4 MB of the line."""
    monkeypatch.setattr(streams, "BLOCK", 2**12)
    (tmp_path / "a.json").write_text(json.dumps([{"text": "x" * 1000}] * 4000))
    tracemalloc.start()
    records = sum(1 for _ in json_files.read_json(tmp_path / "a.json"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert records == 4000 and most < 2**20


def test_corpora_are_told_apart_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "m": 1}\n{"text": null}\n{"id": 3}\n')
    (tmp_path / "b.jsonl").write_text('{"text": " "}\n{"text": "b", "k": {"z": 2}}\n')
    documents = documents_of([str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")])
    for _ in range(2):
        assert list(documents) == [DocumentPiece("b"), DocumentPiece("a", corpus=1)]
        assert documents.empty == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".txt", ".json"])
def test_long_documents_come_in_pieces(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE", 100)
    monkeypatch.setattr(streams, "BLOCK", 64)
    text = "\n\n".join(f"é {number} " + "x" * number for number in range(150))
    path = tmp_path / f"a{suffix}"
    path.write_text(text if suffix == ".txt" else json.dumps([{"text": text}, {"text": "b"}]))
    if suffix == ".jsonl":
        path.write_text(lines([text, "b"]))
    found = list(documents_of(str(path)))
    assert "".join(piece.text for piece in found if piece.text != "b") == text
    assert [piece.begins for piece in found].count(True) == (1 if suffix == ".txt" else 2)
    assert max(len(piece.text) for piece in found) <= 100
