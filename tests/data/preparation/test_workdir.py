"""A cache is whole or not there: after Ctrl-C, kill -9, a full disk, bad input, and with two who make it at once."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from utils.prepare_cases import DOCUMENTS, content, make, write

from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation import chunks
from lm_objectives.data.preparation import encode as encoding
from lm_objectives.data.preparation import prepare as preparing

SCRIPT = """
import logging, sys
logging.basicConfig(level="INFO", format="%(message)s")
from lm_objectives.data.preparation import chunks
from lm_objectives.data.preparation.prepare import prepare
chunks._CHUNK = int(sys.argv[3])
prepare(sys.argv[1], sys.argv[2], tokenizer=300, validation_share=0.25)
"""


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return write(tmp_path / "corpus", DOCUMENTS)


def killed(*args: Any, **settings: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("folder", ["caches", "new/caches"])
def test_interrupted_before_anything_is_done_leaves_nothing(
    tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "caches").mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparing, "scan_corpora", killed)
        make(tmp_path / folder, corpus)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["caches", "corpus"]
    assert not list((tmp_path / "caches").iterdir())


@pytest.mark.parametrize("stage", ["make_tokenizer", "encode_chunks", "join_chunks", "write_array"])
def test_interrupted_later_goes_on(tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    oracle = content(make(tmp_path / "undisturbed", corpus))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparing, stage, killed)
        make(tmp_path / "caches", corpus)
    [partial] = (tmp_path / "caches").iterdir()
    assert partial.suffix == ".partial"
    monkeypatch.setattr(preparing, "scan_corpora", killed)  # is not done again
    path = make(tmp_path / "caches", corpus)
    assert content(path) == oracle
    assert list((tmp_path / "caches").iterdir()) == [path]


def test_finished_chunks_are_not_encoded_again(tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = content(make(tmp_path / "undisturbed", corpus))
    monkeypatch.setattr(chunks, "_CHUNK", 1)
    monkeypatch.setattr(chunks, "available_cores", lambda: 1)
    encode, encoded = encoding.Encoder.__call__, [0]

    def count(self: Any, parts: Any) -> Any:
        encoded[0] += 1
        if encoded[0] == 7:
            raise KeyboardInterrupt
        return encode(self, parts)

    monkeypatch.setattr(encoding.Encoder, "__call__", count)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "caches", corpus)
    before, finished = encoded[0], len(list((tmp_path / "caches").glob("*.partial/chunks/*.npz")))
    assert 3 <= finished < len(DOCUMENTS)
    assert content(make(tmp_path / "caches", corpus)) == oracle
    assert encoded[0] == before + 2 * (len(DOCUMENTS) - finished)  # once for each split


def test_chunks_that_are_not_whole_are_made_anew(tmp_path: Path, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut may leave them: the name is there, and the content is not, or in part, or all zeros."""
    oracle = content(make(tmp_path / "undisturbed", corpus))
    monkeypatch.setattr(chunks, "_CHUNK", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(preparing, "join_chunks", killed)
        make(tmp_path / "caches", corpus)
    empty, cut_off, zeros, *_ = sorted((tmp_path / "caches").glob("*.partial/chunks/*.npz"))
    empty.write_bytes(b"")
    cut_off.write_bytes(cut_off.read_bytes()[:-30])
    zeros.write_bytes(bytes(zeros.stat().st_size))
    assert content(make(tmp_path / "caches", corpus)) == oracle


def start(folder: Path, corpus: str, chunk: int = 2**20, **settings: Any) -> "subprocess.Popen[str]":
    """A user's script, without a guard for processes that import it."""
    command = [sys.executable, "-c", SCRIPT, str(folder), corpus, str(chunk)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **settings)


def large(folder: Path) -> str:
    return write(folder, [f"{number} {document}" * 20 for number in range(10) for document in DOCUMENTS])


@pytest.mark.parametrize("kills", [(9,), pytest.param((1, 2, 20, 50), marks=pytest.mark.slow)])
def test_killed_at_any_time_goes_on(tmp_path: Path, kills: tuple[int, ...]) -> None:
    corpus = large(tmp_path / "corpus")
    oracle = content(make(tmp_path / "undisturbed", corpus))
    for wanted in kills:
        with start(tmp_path / "caches", corpus, 2000) as process:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and process.poll() is None:
                if len(list(tmp_path.glob("caches/*.partial/chunks/*.npz"))) >= wanted:
                    break
                time.sleep(0.002)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        assert not list(tmp_path.glob("caches/*/meta.json"))
    assert len(list(tmp_path.glob("caches/*.partial/chunks/*.npz"))) >= kills[-1]
    with start(tmp_path / "caches", corpus, 2000) as process:
        assert process.wait(120) == 0
    [path] = (tmp_path / "caches").iterdir()
    assert content(path) == oracle


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    corpus = large(tmp_path / "corpus")
    with start(tmp_path / "caches", corpus) as one, start(tmp_path / "caches", corpus) as other:
        said = [process.communicate(timeout=120)[1].splitlines() for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    [path] = (tmp_path / "caches").iterdir()
    assert [line for lines in said for line in lines if "waiting" in line] == [
        f"waiting for another process that prepares {path}"
    ]
    assert [line.split(":")[0] for lines in said for line in lines if "tokens/s" in line] == ["tokens"]


@pytest.mark.parametrize("limit", [500, 20_000, 200_000])
def test_full_disk_is_one_line_and_no_half_cache(tmp_path: Path, limit: int) -> None:
    """No file may grow past the limit: what a write then says is what a full disk says, with another number."""
    corpus = large(tmp_path / "corpus")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with start(tmp_path / "new" / "caches", corpus, preexec_fn=limited) as process:
        _, error = process.communicate(timeout=120)
    told = "lm_objectives.errors.InputError: expected room for tokens in "
    told += f"{tmp_path / 'new' / 'caches'}, found File too large: free"
    assert f"\n{told}" in error  # some releases of numpy have more to say after it
    assert not list(tmp_path.glob("new/caches/*/meta.json"))
    if not (kept := list(tmp_path.glob("new/caches/*.partial"))):
        assert not (tmp_path / "new").exists()
    assert ("goes on from what is done" in error) == bool(kept)
    open_cache(make(tmp_path / "new" / "caches", corpus))
    assert len(list((tmp_path / "new" / "caches").iterdir())) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_is_read_only(tmp_path: Path, corpus: str) -> None:
    (tmp_path / "caches").mkdir(0o500)
    with pytest.raises(ValueError, match=r"^expected a folder that can be written, found .*caches \(.*\): choose"):
        make(tmp_path / "caches", corpus)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_share": 1.5}, "expected validation_share above 0 and below 1, found 1.5"),
        ({"tokenizer": 100}, "expected a vocabulary of at least 260 tokens"),
        ({"language": "english"}, "expected a language code"),
        ({"corpus": "gone.txt"}, "expected the path of a corpus, found nothing at gone.txt"),
        ({"tokenizer": "./gone"}, "expected a tokenizer's folder or its name on the hub, found nothing at ./gone"),
    ],
)
def test_bad_settings_leave_nothing(tmp_path: Path, corpus: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}"):
        make(tmp_path / "new" / "caches", **{"corpus": corpus, **settings})
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_written(tmp_path: Path, corpus: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^expected a folder that can be written, found .*file/caches \(.*\): choose"):
        make(tmp_path / "file" / "caches", corpus)
