"""What cannot be read is said in one line, with the file and the place in it."""

import bz2
import gzip
import lzma
from pathlib import Path

import datasets
import pytest
from utils.reading_cases import lines, read, zstd


def _shortened_gzip() -> bytes:
    return gzip.compress(lines(["x" * 999] * 99).encode(), mtime=0)[:-30]


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
        ("a.txt.zst", zstd(b"a" * 999)[:-5], r"expected a file that can be read to its end, found .*\(Trunc.*\): ch"),
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
