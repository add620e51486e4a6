"""Every format gives the documents that were written into it; what cannot be read is said in one line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from lm_objectives.data.preparation import documents as pieces
from lm_objectives.data.preparation import json_files, streams
from lm_objectives.data.preparation.corpus import find_corpora, shipped_corpus
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document, drop_empty_documents
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.split import read_keys, write_keys
from lm_objectives.errors import InputError

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


def _lines(texts: list[str]) -> str:
    return "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))


def _zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zstd,
    ".ZST": lambda content: _zstd(content[:9]) + _zstd(content[9:]),  # two frames, as parallel compressors write them
}


def _table(delimiter: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["id", "text"], *enumerate(TEXTS)])
    return out.getvalue()


CONTENTS: dict[str, str] = {
    "jsonl": "\n" + _lines(TEXTS),
    "ndjson": _lines(TEXTS).replace("\n", "\r\n"),
    "lines.json": _lines(TEXTS),
    "json": json.dumps([{"text": text, "n": 1} for text in TEXTS], indent=1),
    "csv": "\ufeff" + _table(","),
    "tsv": _table("\t"),
    "semicolon.csv": _table(";"),
}


def _write(folder: Path, form: str) -> Path:
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


@pytest.mark.parametrize("form", [*CONTENTS, "parquet", "disk", "splits", "folder"])
def test_gives_back_what_was_written(tmp_path: Path, form: str) -> None:
    assert read(str(_write(tmp_path, form))) == TEXTS


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
    written = _write(tmp_path, "parquet").read_bytes() if content == "parquet" else content.encode()
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
    column: Any = pa.array([*TEXTS, None, "x"], kind)
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
        "left out: 1 documents without text",
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
        path.write_text(_lines([text, "b"]))
    found = list(documents_of(str(path)))
    assert "".join(piece.text for piece in found if piece.text != "b") == text
    assert [piece.begins for piece in found].count(True) == (1 if suffix == ".txt" else 2)
    assert max(len(piece.text) for piece in found) <= 100


def test_where_documents_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last quarter of a piece decides: a sentence's end, a word's, white space, or the middle of a word."""
    monkeypatch.setattr(pieces, "MAX_PIECE", 12)
    cases = {
        "One it is. Two it is.": ["One it is.", " Two it is."],
        "One and two three": ["One and two", " three"],
        "aaaaa\nbbbb\nccc\n": ["aaaaa\nbbbb", "\nccc\n"],
        "一二三四五六七八九。十一二三": ["一二三四五六七八九。", "十一二三"],
        "a" * 26: ["a" * 12, "a" * 12, "aa"],
        "": [""],
    }
    for text, oracle in cases.items():
        for parts in ([text], list(text)):
            found = list(cut_document(parts))
            assert [piece.text for piece in found] == oracle
            assert [piece.begins for piece in found] == [True, *[False] * (len(oracle) - 1)]


def test_white_space_is_text_where_a_document_holds_more() -> None:
    """Only documents without anything else are left out."""
    found = [
        DocumentPiece(" "),
        DocumentPiece("\n", False),
        DocumentPiece("a", False),
        DocumentPiece("\n\n", False),
        DocumentPiece(""),
        DocumentPiece(" ", False),
    ]
    assert list(drop_empty_documents(found)) == found[:4]


def test_settings_of_datasets_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = datasets.logging.get_verbosity()
    path = str(_write(tmp_path, "disk"))
    capfd.readouterr()
    read(path)
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("o/n", ("o/n", None, None)),
        ("o/n:c-1.v2", ("o/n", "c-1.v2", None)),
        ("n:c", ("n", "c", None)),
        ("o/n:c:dev", ("o/n", "c", "dev")),
        ("o/n::train[:10%]", ("o/n", None, "train[:10%]")),
    ],
)
def test_configurations_and_splits_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, oracle: tuple[str | None, ...]
) -> None:
    """Oracle: the arguments of `datasets.load_dataset`, which here gives what it would."""
    asked = []

    def load(*names: str | None, split: str | None) -> datasets.Dataset | datasets.DatasetDict:
        asked.append((*names, split))
        table = datasets.Dataset.from_dict({"text": TEXTS})
        return table if split else datasets.DatasetDict({"validation": table.select([0]), "train": table})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)
    documents = documents_of(name)
    assert [piece.text for piece in documents] == TEXTS
    assert asked == [oracle]
    mend = "name one as owner/name:config:split, or by its folder"
    told = [] if oracle[2] else [f"not read in {name}: splits, 1 (validation): {mend}"]
    assert [*documents.notices()] == told


def test_a_data_set_without_training_split_is_one_line(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": TEXTS})
    datasets.DatasetDict({"test": table, "dev": table}).save_to_disk(tmp_path / "d")
    with pytest.raises(
        InputError, match=r"^expected a data set with a train split, found test, dev in .*d: name the f"
    ):
        read(str(tmp_path / "d"))
    assert read(str(tmp_path / "d" / "dev")) == TEXTS


def test_hub_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, config: str | None, split: str | None) -> None:
        raise ConnectionError(f"no route\nto {name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = r"^expected a path or a data set on the hub, found neither under o/n: .*\(no route to o/n\)$"
    with pytest.raises(ValueError, match=message):
        read("o/n")


def _shortened_gzip() -> bytes:
    return gzip.compress(_lines(["x" * 999] * 99).encode(), mtime=0)[:-30]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text"\n',
            r"expected JSON in .*a.jsonl, found a mistake in line 2 \(.*\): mend or",
        ),
        (
            "a.jsonl",
            b"[" * 100_000,
            r"expected JSON in .*a.jsonl, found a mistake in line 1 \(nested too deeply\): mend",
        ),
        (
            "a.json",
            b'[{"text": "a"}]\n[{"text": "b"}]\n',
            r"expected one JSON array in .*, found more after .* line 1: wri",
        ),
        ("a.csv", b"id,txt\n1,a\n", r"expected a text field 'text', found txt, id in .*a.csv: set .*perhaps to 'txt'"),
        ("a.csv", b"a" * 99, r"expected a text field 'text', found a{40} in .*a.csv: set"),
        ("a.csv", b"\nid,text\n\n1,a\n2,b,c\n", r"expected 2 cells in each row of .*a.csv, found 3 .* in line 5: put"),
        (
            "a.tsv",
            b'id\ttext\n1\t"a" b\n',
            r"expected a table as CSV in .*a.tsv, found a mistake in line 2 \(.*\): put",
        ),
        (
            "a.csv",
            b'id,text\n1,"a\n2,b\n',
            r"expected a table as CSV in .*, found a mistake in line 3 \(.*end.*\): put",
        ),
        ("a.txt.zst", b"abc", r"expected a file that can be read to its end, found .*a.txt.zst \(.*\): check it"),
        ("a.txt.zst", _zstd(b"a" * 999)[:-5], r"expected a file that can be read to its end, found .*\(Trunc.*\): ch"),
        (
            "a.txt.bz2",
            bz2.compress(b"a" * 999)[:-5],
            r"expected a file that can be read to its end, found .*: check it",
        ),
        (
            "a.txt.xz",
            lzma.compress(b"a" * 999)[:-5],
            r"expected a file that can be read to its end, found .*: check it",
        ),
        ("a.txt.xz", b"abc", r"expected a file that can be read to its end, found .*a.txt.xz \(.*\): check it"),
        (
            "a.json",
            b'[{"text": "a"},\n{"text": "b"\n',
            r"expected JSON in .*a.json, found a mistake in line 2 \(.*\): mend",
        ),
        ("a.json", b'[\n\n{"text": "a"}', r"expected JSON in .*a.json, found a mistake in line 3 \(.*\): mend"),
        ("a.jsonl", b'{"id": 1, "txt": "a"}\n', r"expected a text field 'text', found txt, id in .*perhaps to 'txt'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}\n', r"expected text in field 'text', found a number in .*line 2: set"),
        ("a.jsonl", b'{"text": ["a"]}\n', r"expected text in field 'text', found a list in .*set text_field"),
        ("a.jsonl", b'{"text": "a \\ud83d b"}\n', r"expected text in UTF-8, found half a character in .*line 1: mend"),
        ("a.jsonl", b'"a"\n', r"expected an object with a text field in .*, found text in line 1: write"),
        ("a.jsonl", b'{"text": "a"}\n\xff\n', r"expected text in UTF-8, found something else in .*at byte 14: convert"),
        ("a.txt", b"a\xc3\xa9" * 5 + b"\xe9 b", r"expected text in UTF-8, found something else in .*at byte 15: conv"),
        ("a.txt", b"abc\xe4\xbd", r"expected text in UTF-8, found something else in .*at byte 3: convert"),
        ("a.txt.gz", b"abc", r"expected a file that can be read to its end, found .*a.txt.gz .*: check it, or copy"),
        ("a.jsonl.gz", _shortened_gzip(), r"expected a file that can be read to its end, found .*\(.*end.*\): check"),
        ("a.parquet", b"PAR1 no", r"expected a Parquet file, found none at .*a.parquet \(.*\): check it"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        read(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_fields_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict({"texts": ["a"], "text": [["a"]], "n": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"^expected a text field 'txt', found text, texts, n in .*perhaps to 'text'"):
        read(str(path), "txt")
    with pytest.raises(ValueError, match=r"^expected text in field 'text', found list<.*> in .*: set text_field"):
        read(str(path))
    assert read(str(path), "texts") == ["a"]
