"""Each path gives the files that it means, in the order of their names; what means none is said in one line."""

from pathlib import Path

import pytest

from lm_objectives.data.preparation.corpus import find_sources, shipped_corpus


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def _files(corpus: str | list[str], folder: Path) -> list[list[str]]:
    return [
        [str(file.relative_to(folder)) for source in sources for file in source.files]
        for sources in find_sources(corpus)
    ]


def test_folder_in_the_order_of_its_paths(tmp_path: Path) -> None:
    _write(tmp_path, "c.txt", "b/x.txt", ".hidden/y.txt", "notes.md", "a.jsonl.gz", "b/z.parquet", "b/w.parquet.gz")
    assert _files(str(tmp_path), tmp_path) == [["a.jsonl.gz", "b/x.txt", "b/z.parquet", "c.txt"]]
    assert [source.kind for source in find_sources(str(tmp_path))[0]] == ["json", "text", "parquet", "text"]


@pytest.mark.parametrize(
    ("pattern", "oracle"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("[ab].*", ["a.jsonl", "b.jsonl"]),
        ("**/*.txt", ["d/e/f.txt", "d/g.txt"]),
        ("d*", ["d/e/f.txt", "d/g.txt"]),
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
    assert [[source.files for source in sources] for sources in find_sources(None)] == [[(shipped_corpus(),)]]


def test_hub_names_are_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [source.kind for source in find_sources("owner/name")[0]] == ["hub"]
    (tmp_path / "owner").mkdir()
    with pytest.raises(ValueError, match="found nothing at owner/name"):
        find_sources("owner/name")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.md", r"expected a corpus as .txt, .*, found .*a.md: convert it"),
        ("folder", r"expected a folder with .txt, .* files, found none in .*folder: check the path"),
        ("gone.txt", r"expected the path of a corpus, found nothing at .*gone.txt: check the path"),
        ("*.jsonl", r"expected .txt, .* files that match .*\*.jsonl, found none: check the pattern"),
        ("*.md", r"expected .txt, .* files that match .*\*.md, found none: check the pattern"),
    ],
)
def test_what_is_no_corpus(tmp_path: Path, path: str, message: str) -> None:
    _write(tmp_path, "a.md", "folder/a.md")
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        find_sources(str(tmp_path / path))
    assert "\n" not in str(error.value)


def test_no_path() -> None:
    with pytest.raises(ValueError, match=r"^expected the path of a corpus, found an empty list"):
        find_sources([])
