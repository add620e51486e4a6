"""Every format gives the documents that were written into it; what cannot be read is said in one line."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pytest

from lm_objectives.data.preparation import documents as pieces
from lm_objectives.data.preparation import text_files
from lm_objectives.data.preparation.corpus import find_sources, shipped_corpus
from lm_objectives.data.preparation.documents import DocumentPiece, cut_document, drop_empty_documents
from lm_objectives.data.preparation.readers import Documents
from lm_objectives.data.preparation.split import read_keys, write_keys

TEXTS = ["One.\n\nTwo.", "Three é 你好。"]


def read(corpus: str | list[str] | None, text_field: str = "text", txt_documents: Any = "file") -> list[str]:
    """The documents, their pieces put together."""
    texts: list[str] = []
    for piece in Documents(find_sources(corpus), text_field, txt_documents):
        if piece.begins:
            texts.append("")
        texts[-1] += piece.text
    return texts


def _lines(texts: list[str]) -> str:
    return "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))


def _write(folder: Path, form: str) -> Path:
    path = folder / f"corpus [1]*.{form}"
    table = datasets.Dataset.from_dict({"text": TEXTS, "id": [0, 1]})
    if form in ("jsonl", "lines.json"):
        path.write_text("\n" + _lines(TEXTS))
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress(_lines(TEXTS).encode()))
    elif form == "json":
        path.write_text(json.dumps([{"text": text, "n": 1} for text in TEXTS], indent=1))
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


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "json", "lines.json", "parquet", "disk", "splits", "folder"])
def test_gives_back_what_was_written(tmp_path: Path, form: str) -> None:
    assert read(str(_write(tmp_path, form))) == TEXTS


def test_shipped_corpus() -> None:
    with gzip.open(shipped_corpus(), "rt", encoding="utf-8") as lines:
        oracle = [json.loads(line)["text"] for line in lines]
    assert read(None) == oracle
    assert len(oracle) == 92


@pytest.mark.parametrize(
    ("txt_documents", "oracle"), [("file", ["A.\nB.\n\n \nC.\n"]), ("blank-line", ["A.\nB.", "C."])]
)
def test_plain_text(tmp_path: Path, txt_documents: str, oracle: list[str]) -> None:
    (tmp_path / "a.txt").write_text("\ufeffA.\nB.\n\n \nC.\n")
    assert read(str(tmp_path / "a.txt"), "whatever", txt_documents) == oracle


def test_a_paragraph_is_the_same_document_within_a_file_and_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"A.\nB.\n\n\nC.\r\nD.\r\n\r\nC.\nD.\n\n")
    documents = Documents(find_sources(str(tmp_path / "a.txt")), "text", "blank-line")
    texts = [piece.text for piece in write_keys(documents, 0, tmp_path / "keys")]
    assert texts == ["A.\nB.", "C.\r\nD.", "C.\nD."]
    one, other, again = read_keys(tmp_path / "keys")
    assert one != other == again
    assert documents.empty == 0


def test_an_array_on_one_line_is_not_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: what Python holds at most, against the 4 MB of the line."""
    monkeypatch.setattr(text_files, "_BLOCK", 2**12)
    (tmp_path / "a.json").write_text(json.dumps([{"text": "x" * 1000}] * 4000))
    tracemalloc.start()
    records = sum(1 for _ in text_files.read_json(tmp_path / "a.json"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert records == 4000 and most < 2**20


def test_corpora_are_told_apart_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "m": 1}\n{"text": null}\n{"id": 3}\n')
    (tmp_path / "b.jsonl").write_text('{"text": " "}\n{"text": "b", "k": {"z": 2}}\n')
    documents = Documents(find_sources([str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")]), "text", "file")
    for _ in range(2):
        assert list(documents) == [DocumentPiece("b"), DocumentPiece("a", corpus=1)]
        assert documents.empty == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".txt", ".json"])
def test_long_documents_come_in_pieces(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_PIECE", 100)
    monkeypatch.setattr(text_files, "_BLOCK", 64)
    text = "\n\n".join(f"é {number} " + "x" * number for number in range(150))
    path = tmp_path / f"a{suffix}"
    path.write_text(text if suffix == ".txt" else json.dumps([{"text": text}, {"text": "b"}]))
    if suffix == ".jsonl":
        path.write_text(_lines([text, "b"]))
    found = list(Documents(find_sources(str(path)), "text", "file"))
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


def test_blocks_end_before_the_blank_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n One.\r\nTwo.\r\n \r\n\n Three.\nFour.")
    found = [piece.text for piece in Documents(find_sources(str(path)), "text", "blank-line")]
    assert found == [" One.\r\nTwo.", " Three.\nFour."]


def test_settings_of_datasets_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = datasets.logging.get_verbosity()
    path = str(_write(tmp_path, "disk"))
    capfd.readouterr()
    read(path)
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


def test_hub_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
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
