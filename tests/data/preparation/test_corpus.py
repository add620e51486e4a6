"""Each path gives the files that it means, in the order of their names; what is not read is said in one line."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from lm_objectives.data.preparation.corpus import check_format, find_corpora, shipped_corpus


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def _files(corpus: str | list[str], folder: Path | str) -> list[list[str]]:
    return [
        [str(file).removeprefix(f"{folder}/") for source in found.sources for file in source.files]
        for found in find_corpora(corpus)
    ]


def _kinds(corpus: str) -> list[str]:
    return [source.kind for source in find_corpora(corpus)[0].sources]


def test_folder_in_the_order_of_its_paths(tmp_path: Path) -> None:
    _write(tmp_path, "c.txt", "b/x.txt", ".hidden/y.txt", "notes.md", "a.jsonl.gz", "b/z.parquet", "b/w.parquet.gz")
    assert _files(str(tmp_path), tmp_path) == [["a.jsonl.gz", "b/x.txt", "b/z.parquet", "c.txt"]]
    assert _kinds(str(tmp_path)) == ["jsonl", "text", "parquet", "text"]


@pytest.mark.parametrize(
    ("pattern", "oracle"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("[ab].*", ["a.jsonl", "b.jsonl"]),
        ("**/*.txt", ["d/e/f.txt", "d/g.txt"]),
        ("d*", ["d/e/f.txt", "d/g.txt"]),
        ("**/*", ["a.jsonl", "b.jsonl", "d/e/f.txt", "d/g.txt"]),
        ("*", ["a.jsonl", "b.jsonl", "d/e/f.txt", "d/g.txt"]),
    ],
)
def test_pattern(tmp_path: Path, pattern: str, oracle: list[str]) -> None:
    _write(tmp_path, "a.jsonl", "b.jsonl", "c.md", "d/e/f.txt", "d/g.txt")
    assert _files(str(tmp_path / pattern), tmp_path) == [oracle]


def test_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    _write(tmp_path, "a[1]*.txt", "a1.txt")
    assert _files(str(tmp_path / "a[1]*.txt"), tmp_path) == [["a[1]*.txt"]]


def test_each_path_of_a_list_is_a_corpus(tmp_path: Path) -> None:
    _write(tmp_path, "a.txt", "b/c.txt", "b/d.jsonl")
    assert _files([str(tmp_path / "b"), str(tmp_path / "a.txt")], tmp_path) == [["b/c.txt", "b/d.jsonl"], ["a.txt"]]


def test_shipped_corpus_is_the_default() -> None:
    [found] = find_corpora(None)
    assert [source.files for source in found.sources] == [(shipped_corpus(),)]


def test_hub_names_are_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("owner/name", "owner/name:config", "owner/name::dev", "name:config:dev"):
        assert _kinds(name) == ["hub"]
    (tmp_path / "owner").mkdir()
    with pytest.raises(ValueError, match="found nothing at owner/name"):
        find_corpora("owner/name")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.md", r"expected a corpus as .txt, .*, found .*a.md: convert it to one of these; data.format says"),
        ("a.tar.gz", r"expected a corpus as .txt, .*, found .*a.tar.gz: unpack it"),
        (
            "folder",
            r"expected a folder with .txt, .* files, found none in .*folder; not read in .*folder: files of other "
            r"kinds, 1 \(a.md\): data.format says how to read files of any name: check the path",
        ),
        ("gone.txt", r"expected the path of a corpus, found nothing at .*gone.txt: check the path"),
        ("*.jsonl", r"expected .txt, .* files that match .*\*.jsonl, found none in .*\*.jsonl: check the pattern"),
        (
            "*.md",
            r"expected .txt, .* files that match .*\*.md, found none in .*; not read in .* 1 \(.*a.md\): .* the pat",
        ),
    ],
)
def test_what_is_no_corpus(tmp_path: Path, path: str, message: str) -> None:
    _write(tmp_path, "a.md", "folder/a.md", "a.tar.gz")
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        find_corpora(str(tmp_path / path))
    assert "\n" not in str(error.value)


def test_no_form() -> None:
    with pytest.raises(
        ValueError, match=r"^expected data.format as text, jsonl, csv, parquet, found 'xml': leave it out"
    ):
        check_format("xml")


def test_no_path() -> None:
    with pytest.raises(ValueError, match=r"^expected the path of a corpus, found an empty list"):
        find_corpora([])


# What is not read.

MEND = "data.format says how to read files of any name"


@pytest.mark.parametrize("pattern", ["", "*", "**/*"])
def test_what_is_not_read_is_told(tmp_path: Path, pattern: str) -> None:
    """Files of other kinds, archives, links to folders and to nothing; hidden files are nobody's text."""
    _write(tmp_path / "t", "a.txt", "b/c.md", "b/d", "e.parquet.gz", "f.pdf", "g.zip", "b/h.tar.zst", ".i", "j.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "t" / "b" / "k").symlink_to(tmp_path / "other")
    (tmp_path / "t" / "b" / "l.txt").symlink_to(tmp_path / "nothing")
    name = f"{tmp_path}/t/{pattern}".rstrip("/")
    [found] = find_corpora(name)
    oracle = [
        f"not read in {name}: archives, 2 (b/h.tar.zst, g.zip): unpack them",
        f"not read in {name}: files of other kinds, 4 (b/c.md, b/d, e.parquet.gz, …): {MEND}",
        f"not read in {name}: folders and files that cannot be read, 1 (b/l.txt): let this user read them",
        f"not read in {name}: links to folders, 1 (b/k): name them in data.corpus, or a pattern that matches them",
    ][: 3 if pattern == "**/*" else 4]
    assert [line.replace(f"({tmp_path}/t/", "(").replace(f" {tmp_path}/t/", " ") for line in found.notices] == [
        line.replace(f" {tmp_path}/t/", " ") for line in oracle
    ]


def test_the_user_says_the_form_of_all_but_archives(tmp_path: Path) -> None:
    _write(tmp_path, "a", "b.csv", "c.zip", ".d")
    [found] = find_corpora(str(tmp_path), "text")
    assert [[file.name for file in source.files] for source in found.sources] == [["a", "b.csv"]]
    assert found.notices == (
        f"not read in {tmp_path}: archives, 1 (c.zip): unpack them",
        f"read as text in {tmp_path}: files whose names say otherwise, 1 (b.csv): data.format is for all files",
    )


@pytest.mark.parametrize("pattern", ["", "*", "**/*.txt", "*/*.txt"])
def test_folders_that_may_not_be_read_are_told(tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user who is not root sees them."""
    _write(tmp_path, "a/b.txt", "closed/c.txt")
    closed = str(tmp_path / "closed")
    scandir, access = os.scandir, os.access

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).rstrip("/") == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != closed and access(path, mode))
    name = f"{tmp_path}/{pattern}".rstrip("/")
    [found] = find_corpora(name)
    assert [file.name for source in found.sources for file in source.files] == ["b.txt"]
    [notice] = found.notices
    assert notice.startswith(f"not read in {name}: folders and files that cannot be read, 1 (")
    assert "closed): let this user read them" in notice
    with pytest.raises(
        ValueError, match=r"^expected a folder that can be read, found .*closed \(Permission denied\): let"
    ):
        find_corpora(closed)


# Files elsewhere.


@pytest.fixture
def memory() -> Iterator[None]:
    """Files in fsspec's memory."""
    fs = fsspec.filesystem("memory")
    for name in ("a.jsonl", "b/c.txt.zst", "b/d.md", "b/.e.txt", "f.txt"):
        fs.pipe(f"/corpus/{name}", b"x")
    yield
    fs.store.clear()


@pytest.mark.parametrize(
    ("url", "oracle"),
    [
        ("memory://corpus", ["a.jsonl", "b/c.txt.zst", "f.txt"]),
        ("memory://corpus/b/", ["b/c.txt.zst"]),
        ("memory://corpus/f.txt", ["f.txt"]),
        ("memory://corpus/*.*", ["a.jsonl", "f.txt"]),
        ("memory://corpus/**/*.zst", ["b/c.txt.zst"]),
    ],
)
def test_urls(memory: None, url: str, oracle: list[str]) -> None:
    assert _files(url, "memory:///corpus") == [oracle]


def test_what_is_not_read_elsewhere_is_told(memory: None) -> None:
    [found] = find_corpora("memory://corpus")
    assert found.notices == (f"not read in memory://corpus: files of other kinds, 1 (b/d.md): {MEND}",)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://gone", r"expected .txt, .* files at memory://gone, found none in memory://gone: check the URL"),
        (
            "nope://a.txt",
            r"expected a URL that fsspec can read, found nope://a.txt \(ValueError: .*\): check it, or ins",
        ),
        (
            "http://127.0.0.1/a",
            r"expected .txt, .* files at http://127.0.0.1/a, found none .*1 \(.*\): data.format says",
        ),
    ],
)
def test_urls_of_nothing(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        find_corpora(url)
    assert "\n" not in str(error.value)


def test_one_format_for_files_whose_names_say_another_is_told(tmp_path: Path) -> None:
    """As where it is meant for `corpus`, and `validation_corpus` is of another."""
    for name in ("a.dat", "b.txt", "c.jsonl"):
        (tmp_path / name).write_text("Text.", encoding="utf-8")
    [corpus] = find_corpora(str(tmp_path), "text")
    assert len(corpus.sources[0].files) == 3
    [line] = corpus.notices
    assert line.endswith("files whose names say otherwise, 1 (c.jsonl): data.format is for all files")
    [alone] = find_corpora(str(tmp_path / "c.jsonl"), "text")
    assert len(alone.notices) == 1
    assert find_corpora(str(tmp_path / "b.txt"), "text")[0].notices == ()
