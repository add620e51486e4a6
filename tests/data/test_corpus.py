"""Every format gives the documents that were written into it; what cannot be read is said in one line."""

import gzip
import json
from pathlib import Path

import datasets
import pytest

from lm_objectives.data.corpus import find_sources, read_documents, shipped_corpus

TEXTS = ["One.\n\nTwo.", "Three é 你好。"]


def _lines(texts: list[str], field: str = "text") -> str:
    return "".join(json.dumps({"id": str(number), field: text}) + "\n" for number, text in enumerate(texts))


def _write(folder: Path, form: str) -> Path:
    path = folder / f"corpus [1]*.{form}"
    table = datasets.Dataset.from_dict({"text": TEXTS, "id": [0, 1]})
    if form == "jsonl":
        path.write_text(_lines(TEXTS))
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


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "json", "parquet", "disk", "splits", "folder"])
def test_gives_back_what_was_written(tmp_path: Path, form: str) -> None:
    assert list(read_documents(str(_write(tmp_path, form)))) == TEXTS


def test_plain_text_is_one_document_whatever_the_field(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXTS[0])
    assert list(read_documents(str(path), text_field="body")) == [TEXTS[0]]


def test_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("c.txt", "b/x.txt", ".hidden/y.txt", "notes.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a.jsonl").write_text(_lines(["from a"]))
    (tmp_path / "b" / "empty.txt").touch()
    assert list(read_documents(str(tmp_path))) == ["from a", "b/x.txt", "c.txt"]


def test_list_joins_files_with_different_fields(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "m": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "b", "k": {"z": 2}}\n')
    assert list(read_documents([str(tmp_path / "b.jsonl"), str(tmp_path / "a.jsonl")])) == ["b", "a"]


def test_missing_text_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"id": 3}\n')
    documents = read_documents(str(tmp_path / "a.jsonl"))
    assert list(documents) == ["a", "", ""]
    assert (len(documents), documents[0], documents[1], documents[1:]) == (3, "a", "", ["", ""])


def test_shipped_corpus_is_the_default() -> None:
    with gzip.open(shipped_corpus(), "rt", encoding="utf-8") as lines:
        oracle = [json.loads(line)["text"] for line in lines]
    assert list(read_documents(None)) == oracle
    assert len(oracle) == 92


def test_scratch_files_go_with_the_documents_and_on_errors(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    documents = read_documents(None, scratch=scratch)
    assert list(scratch.iterdir())
    del documents
    assert not list(scratch.iterdir())
    with pytest.raises(ValueError):
        read_documents(None, text_field="txt", scratch=scratch)
    assert not list(scratch.iterdir())


def test_settings_of_datasets_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = datasets.logging.get_verbosity()
    capfd.readouterr()
    read_documents(str(_write(tmp_path, "jsonl")))
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


def test_hub_names_are_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [source.kind for source in find_sources("owner/name")] == ["hub"]
    (tmp_path / "owner").mkdir()
    with pytest.raises(ValueError, match="found nothing at owner/name"):
        find_sources("owner/name")


def test_hub_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
        raise ConnectionError(f"no route\nto {name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = r"^expected a path or a data set on the hub, found neither under o/n; .*\(no route to o/n\)$"
    with pytest.raises(ValueError, match=message):
        read_documents("o/n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.md", "x", "expected a corpus as .txt, .*, found .*a.md; convert it"),
        ("folder/a.md", "x", "expected a folder with .txt, .* files, found none in .*folder; check the path"),
        ("a.txt", " \n", "expected documents with text, found only empty ones in .*a.txt; check the corpus"),
        ("a.jsonl", "", "expected documents with text, found only empty ones in .*a.jsonl; check the corpus"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', "expected a well-formed corpus .*a.jsonl .*JSON parse error"),
        ("a.jsonl", '{"id": 1, "txt": "a"}\n', "expected a text field 'text', found id, txt in .*perhaps to 'txt'"),
        ("a.jsonl", '{"text": 5}\n', "expected text in field 'text', found int64 in .*set text_field"),
        ("a.jsonl", '{"text": ["a"]}\n', "expected text in field 'text', found .* in .*set text_field"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    target = path if path.parent == tmp_path else path.parent
    with pytest.raises(ValueError, match=rf"^{message}") as error:
        read_documents(str(target))
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^expected the path of a corpus, found nothing at .*gone.txt; check the path"
    ):
        read_documents(str(tmp_path / "gone.txt"))
    with pytest.raises(ValueError, match=r"^expected the path of a corpus, found an empty list"):
        read_documents([])


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^expected a well-formed corpus in UTF-8 .*can't decode"):
        read_documents(str(tmp_path / "a.txt"))
