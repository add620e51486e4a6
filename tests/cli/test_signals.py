"""Signals to one rank, or to all, end every rank with a checkpoint from which the run goes on in the same bits."""

import os
import signal
from pathlib import Path

import pytest
from utils.exactness_kills import Job, Training, differing_bits, settings
from utils.small_corpus import write_corpus

SECONDS = 120.0  # in which all ranks have to end
STEP = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("signals")
    write_corpus(place / "corpus.jsonl")
    return place


@pytest.fixture(scope="module")
def whole(place: Path) -> Training:
    """The run that is left alone."""
    return Training(place / "whole", settings(place, "GradNorm")).run()


@pytest.fixture(scope="module")
def whole_pair(place: Path) -> Training:
    """The same run on two ranks."""
    return Training(place / "whole pair", settings(place, "GradNorm"), ranks=2).run()


def expect_same(one: Training, whole: Training) -> None:
    """Oracle: the run that was left alone, checkpoint and table, bit for bit."""
    assert differing_bits(one.state("last.ckpt"), whole.state("last.ckpt")) == {}
    assert one.table() == whole.table()


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_one_process_ends_with_a_checkpoint(
    signum: int, code: int, place: Path, whole: Training, tmp_path: Path
) -> None:
    run = Training(tmp_path / "run", settings(place, "GradNorm"))
    processes = run.start()
    run.wait_for(STEP, processes)
    os.kill(processes[0].pid, signum)
    assert run.end(processes, SECONDS) == [code]
    assert "the same command with --ckpt_path last goes on" in run.log() and "Traceback" not in run.log()
    expect_same(run.run(), whole)


WHO = {"the first": [0], "the second": [1], "both": [0, 1]}


@pytest.mark.parametrize(
    ("who", "signum", "workers"),
    [
        ("the second", signal.SIGTERM, 0),
        pytest.param("the first", signal.SIGTERM, 2, marks=pytest.mark.slow),
        pytest.param("both", signal.SIGINT, 2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_some_ends_all_ranks(
    who: str, signum: int, workers: int, place: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = Training(tmp_path / "run", settings(place, "GradNorm", num_workers=workers), ranks=2)
    processes = run.start()
    run.wait_for(STEP, processes)
    for rank in WHO[who]:
        os.kill(processes[rank].pid, signum)
    assert run.end(processes, SECONDS) == [128 + signum] * 2
    assert run.log().count("the same command with --ckpt_path last goes on") == 1 and "Traceback" not in run.log()
    run.check()
    if workers:
        expect_same(run.run(), request.getfixturevalue("whole_pair"))


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_ends_the_other_with_a_line(rank: int, place: Path, tmp_path: Path) -> None:
    run = Training(tmp_path / "run", settings(place, "GradNorm"), ranks=2)
    processes = run.start()
    run.wait_for(STEP, processes)
    processes[rank].kill()
    codes = run.end(processes, SECONDS)
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1
    assert "Traceback" not in run.log()
    if rank == 1:  # the first is the one that speaks
        assert run.log().count("expected all ranks to train to the end, found that another has ended") == 1


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A folder with a `scontrol` that notes what it was asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tools / "asked"}\n', encoding="utf-8")
    (tools / "scontrol").chmod(0o755)
    return tools


@pytest.mark.parametrize(
    ("ranks", "restarts", "oracle"),
    [(1, None, "whole"), pytest.param(2, 1, "whole_pair", marks=pytest.mark.slow)],
    ids=["one rank, by its mark", "two ranks, by the count of restarts"],
)
def test_a_requeued_job_goes_on_with_its_numbers(
    ranks: int,
    restarts: int | None,
    oracle: str,
    place: Path,
    scontrol: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    run = Training(tmp_path / "run", settings(place, "GradNorm"), ranks)
    processes = run.start(job=Job(4711, scontrol))
    run.wait_for(STEP, processes)
    os.kill(processes[-1].pid, signal.SIGUSR1)
    assert run.end(processes, SECONDS) == [0] * ranks
    assert (scontrol / "asked").read_text(encoding="utf-8") == "requeue 4711\n"
    assert run.end(run.start(job=Job(4711, scontrol, restarts))) == [0] * ranks, run.log()
    assert not (run.root / "previous").exists() and not list(run.root.glob("hpc_ckpt*"))
    expect_same(run, request.getfixturevalue(oracle))


def test_another_job_or_another_experiment_does_not_go_on(place: Path, scontrol: Path, tmp_path: Path) -> None:
    """A folder that a requeued job left: its own settings alone go on, another job begins anew."""
    run = Training(tmp_path / "run", settings(place, "Fixed"))
    processes = run.start(job=Job(1, scontrol))
    run.wait_for(STEP, processes)
    os.kill(processes[0].pid, signal.SIGUSR1)
    assert run.end(processes, SECONDS) == [0]
    before = run.last.read_bytes()
    assert run.end(run.start("--seed_everything", "7", job=Job(1, scontrol))) == [2]
    assert "expected the settings of the run that goes on, found seed_everything 7, was 0" in run.log()
    assert run.last.read_bytes() == before
    assert run.end(run.start("--seed_everything", "7", job=Job(2, scontrol))) == [0]
    assert (run.root / "previous" / "1" / "checkpoints" / "last.ckpt").read_bytes() == before
    assert run.table()[0]["step"] == "0"


def test_a_checkpoint_that_lightning_alone_would_take_is_refused(place: Path, scontrol: Path, tmp_path: Path) -> None:
    run = Training(tmp_path / "run", settings(place, "Fixed"))
    run.root.mkdir()
    (run.root / "hpc_ckpt_1.ckpt").write_bytes(b"of another run")
    assert run.end(run.start(job=Job(3, scontrol))) == [2]
    assert "expected no checkpoint of another run in" in run.log() and "move it away to begin a new run" in run.log()
    assert [path.name for path in run.root.iterdir()] == ["hpc_ckpt_1.ckpt"]
