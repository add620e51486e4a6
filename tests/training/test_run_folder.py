"""One process at a time in a run's folder, and a previous run that is set aside whole."""

import errno
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lm_objectives.callbacks.interrupt import GracefulInterrupt
from lm_objectives.callbacks.keep_folder import KeepFolder
from lm_objectives.errors import InputError, RunError
from lm_objectives.training import run_folder
from lm_objectives.training.run_folder import RunFolder, archive_previous_run

_HOLD = "import sys, time; from lm_objectives.training.run_folder import RunFolder; "
_HOLD += "RunFolder(sys.argv[1]).hold(); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder `run`."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def owner_of(root: Path, **content: object) -> Path:
    """The note of a process on another machine that holds the folder."""
    root.mkdir(exist_ok=True)
    note = root / "owner.json"
    note.write_text(json.dumps({"host": "another", "pid": 17, "job": None, **content}), encoding="utf-8")
    return note


def test_a_second_process_is_refused_until_the_first_is_killed(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"in use by process {holder.pid} on .*: choose another trainer"):
        RunFolder(tmp_path / "run").hold()
    holder.kill()
    holder.wait()
    folder = RunFolder(tmp_path / "run")
    folder.hold()
    folder.release()


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.hold()
    folder.release()
    assert not list(tmp_path.iterdir())


def test_an_ended_run_leaves_its_note_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.hold()
    (tmp_path / "metrics.csv").touch()
    folder.release()
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "owner.json"}
    note = json.loads((tmp_path / "owner.json").read_text(encoding="utf-8"))
    assert note.pop("token")
    assert note == {"host": socket.gethostname(), "pid": os.getpid(), "job": None, "ended": True}


def test_a_process_of_another_machine_that_shows_life_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = owner_of(tmp_path / "run")
    monkeypatch.setattr(run_folder, "_DEAD", 8.0)
    beat = threading.Timer(0.5, lambda: os.utime(note))
    beat.start()
    with pytest.raises(InputError, match="in use by process 17 on another"):
        RunFolder(tmp_path / "run").hold()
    beat.join()


@pytest.mark.parametrize("how", ["silent", "ended"])
def test_one_that_is_silent_or_has_ended_does_not(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner_of(tmp_path / "run", **({"ended": True} if how == "ended" else {}))
    monkeypatch.setattr(run_folder, "_DEAD", 1.5 if how == "silent" else 60.0)
    begin = time.monotonic()
    folder = RunFolder(tmp_path / "run")
    folder.hold()
    assert (time.monotonic() - begin > 1) == (how == "silent")
    folder.release()


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("alive", [True, False])
def test_on_a_disk_without_locks_the_note_decides(alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder.fcntl, "flock", no_locks)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owner_of(tmp_path / "run", host=socket.gethostname(), pid=os.getppid() if alive else ended.pid)
    folder = RunFolder(tmp_path / "run")
    if alive:
        with pytest.raises(InputError, match="in use by process"):
            folder.hold()
    else:
        folder.hold()
        folder.release()


def test_a_disk_that_does_not_answer_is_no_folder_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(*_: object, **__: object) -> str:
        raise OSError(errno.ESTALE, "Stale file handle")

    folder = RunFolder(tmp_path / "run")
    folder.hold()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", stale)
        folder.check()
    folder.release()


def test_a_copy_in_another_process_holds_nothing(tmp_path: Path) -> None:
    """As the callbacks of ranks that are spawned have one."""
    folder = RunFolder(tmp_path / "run")
    folder.hold()
    copies = pickle.loads(pickle.dumps([GracefulInterrupt(folder), KeepFolder(folder)]))
    copies[1].folder.check()
    copies[1].folder.release()
    with pytest.raises(InputError, match="in use by process"):
        copies[1].folder.hold()
    folder.release()


@pytest.mark.parametrize("how", ["removed", "taken"])
def test_a_folder_that_is_lost_ends_the_run(how: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.hold()
    folder.check()
    (tmp_path / "run").rename(tmp_path / "away")
    if how == "taken":
        owner_of(tmp_path / "run")
    folder._checked = 0.0  # it looks once a second
    with pytest.raises(RunError, match=r"expected the run's folder .* found it removed or taken by another run"):
        folder.check()
    assert (tmp_path / "run").exists() == (how == "taken")


@pytest.mark.parametrize(
    ("note", "variables", "again"),
    [
        ({"job": "7"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True),
        ({"job": "7", "requeued": True}, {"SLURM_JOB_ID": "7"}, True),
        ({"job": "7"}, {"SLURM_JOB_ID": "7"}, False),  # a second command in one allocation
        ({"job": "7", "requeued": True}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        ({"job": "3_2"}, {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "2"}, False),
        (
            {"job": "3_2", "requeued": True},
            {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "2"},
            True,
        ),
        ({"requeued": True}, {}, False),
    ],
)
def test_which_job_goes_on(
    note: dict[str, object], variables: dict[str, str], again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner_of(tmp_path / "run", **note)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert RunFolder(tmp_path / "run").is_requeued() is again


def leave(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


def test_a_previous_run_is_archived_whole(tmp_path: Path) -> None:
    run = ("config.yaml", "metrics.csv", "checkpoints/last.ckpt", "curves.png", "gradient_conflict.png", "wandb_id.txt")
    for number in (1, 2):
        leave(tmp_path, *run, "notes.txt")
        archive_previous_run(tmp_path)
        kept = {
            str(path.relative_to(tmp_path / "previous" / str(number)))
            for path in tmp_path.glob(f"previous/{number}/**/*.*")
        }
        assert kept == set(run)
        assert (tmp_path / "previous" / str(number) / "checkpoints/last.ckpt").read_text() == "checkpoints/last.ckpt"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "previous"]


@pytest.mark.parametrize("names", [(), ("config.yaml",), ("notes.txt", "curves.png")])
def test_what_is_no_run_stays(names: tuple[str, ...], tmp_path: Path) -> None:
    leave(tmp_path, *names)
    archive_previous_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
