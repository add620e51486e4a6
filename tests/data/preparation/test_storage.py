"""Files behind URLs give the documents that those here give, and name the cache by what is known of them."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import datasets
import fsspec
import pytest
from utils.prepare_cases import DOCUMENTS, content, make

from lm_objectives.data.preparation import storage
from lm_objectives.data.preparation.corpus import find_corpora
from lm_objectives.data.preparation.fingerprint import identify_files
from lm_objectives.data.preparation.plain_text import DocumentRule
from lm_objectives.data.preparation.readers import Documents


class _Server(http.server.SimpleHTTPRequestHandler):
    """Gives whole files alone, as Python's own server does, and breaks off where it is asked for `cut`."""

    def log_message(self, *words: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        if "cut" not in self.path:
            super().copyfile(source, outputfile)  # type: ignore[arg-type, type-var]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server's address; its files lie in `tmp_path / "site"`."""
    (tmp_path / "site").mkdir()
    handler = functools.partial(_Server, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write(folder: Path) -> list[str]:
    """One corpus in three forms; the second is larger than what fsspec reads at once."""
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps({"text": text, "pad": "x" * 300_000}) + "\n" for text in DOCUMENTS)
    (folder / "a.jsonl").write_text(lines.replace("x" * 300_000, ""))
    (folder / "b.jsonl").write_text(lines)
    datasets.Dataset.from_dict({"text": DOCUMENTS}).to_parquet(folder / "c.parquet")
    return ["a.jsonl", "b.jsonl", "c.parquet"]


def read(url: str) -> list[str]:
    return [piece.text for piece in Documents(find_corpora(url), "text", DocumentRule("file"))]


def test_a_web_server(tmp_path: Path, site: str) -> None:
    for name in write(tmp_path / "site"):
        assert read(f"{site}/{name}") == DOCUMENTS
        assert read(f"{site}/{name}?version=2") == DOCUMENTS


def test_a_file_system_of_fsspec(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    try:
        for name in write(tmp_path / "files"):
            fs.put_file(str(tmp_path / "files" / name), f"/r/{name}")
            assert read(f"memory://r/{name}") == DOCUMENTS
        assert read("memory://r") == DOCUMENTS * 3
    finally:
        fs.store.clear()


def test_a_cache_of_remote_text_is_that_of_text_here(tmp_path: Path, site: str) -> None:
    """But for its name, which is that of the URL and what the server says of the file; a change is another one."""
    write(tmp_path / "site")
    here = make(tmp_path / "caches", str(tmp_path / "site" / "a.jsonl"))
    there = make(tmp_path / "caches", f"{site}/a.jsonl")
    assert make(tmp_path / "caches", f"{site}/a.jsonl") == there != here
    one, other = content(here), content(there)
    assert {name: data for name, data in one.items() if name != "meta.json"} == {
        name: data for name, data in other.items() if name != "meta.json"
    }
    (tmp_path / "site" / "a.jsonl").write_text("".join(json.dumps({"text": text + "!"}) + "\n" for text in DOCUMENTS))
    assert make(tmp_path / "caches", f"{site}/a.jsonl") != there


@pytest.mark.parametrize("name", ["gone.jsonl", "cut.jsonl", "cut.parquet"])
def test_what_a_server_does_not_give_whole_is_one_line(tmp_path: Path, site: str, name: str) -> None:
    (tmp_path / "site" / "cut.jsonl").write_text('{"text": "a"}\n' * 9)
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "site" / "cut.parquet")
    told = rf"^expected a (Parquet file|file that can be read to its end), found .*{name} \(.+\): check it"
    with pytest.raises(ValueError, match=told) as error:
        make(tmp_path / "caches", f"{site}/{name}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "caches").exists()


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected a file that can be read to its end, found http://.*: check it"):
        make(tmp_path / "caches", "http://127.0.0.1:1/a.jsonl")


def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("A.")

    def refuse(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("lm_objectives.data.preparation.fingerprint.digest_of", refuse)
    told = r"^expected a file that can be read to its end, found .*a.txt \(Permission denied\): check"
    with pytest.raises(ValueError, match=told):
        identify_files([tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("https://host/a.txt", True),
        ("s3://bucket/a", True),
        ("zip://a.txt::https://host/a.zip", True),
        ("texts/a.txt", False),
        ("owner/name:config", False),
        ("a::b", False),
    ],
)
def test_urls_are_told_from_paths(name: str, oracle: bool) -> None:
    assert storage.is_url(name) is oracle
