"""Real trainings of a study: each is made once, goes on after whatever ends it, and comes to what it would have."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from utils.command_line import table
from utils.study_runs import PATIENCE, end_group, expect_same, results, start_queue, study_run, wait_for_steps

from lm_objectives.comparison.running import runs as module
from lm_objectives.comparison.running.runs import RunQueue
from lm_objectives.comparison.running.study_run import FAILED, LOG, SETTINGS, StudyRun
from lm_objectives.errors import InputError
from lm_objectives.files import atomic_write

STEPS = 24

BROKEN = """
from lm_objectives import CausalLM


class Broken(CausalLM):
    calls = 0

    def compute_loss(self, *args):
        self.calls += self.training
        if self.calls > 2:  # one is before the first step
            raise RuntimeError("this objective is broken")
        return super().compute_loss(*args)
"""


@pytest.fixture(scope="module")
def whole(place: Path) -> StudyRun:
    """The run that is left alone."""
    run = study_run(place, place / "whole", steps=STEPS)
    RunQueue(1, [], print).make([run], 1)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_goes_on_after_queue_and_training_were_killed(
    seed: int, place: Path, whole: StudyRun, tmp_path: Path
) -> None:
    """Oracle: the run that was left alone, to the bit; the moment is drawn from the seed."""
    run, draw = study_run(place, tmp_path, steps=STEPS), random.Random(seed)
    process = start_queue([run], 1, tmp_path)
    wait_for_steps(run, draw.randrange(6, STEPS // 2), process)
    time.sleep(draw.uniform(0, 0.1))
    end_group(process, signal.SIGKILL)
    assert not run.is_done() and len(table(run.path)) < STEPS
    said: list[str] = []
    RunQueue(1, [], said.append).make([run], 1)
    own = [line for line in said if "another process" not in line]  # the killed one may hold the lock for a moment
    assert own[0] == "[1/1] runs/tiny/0: goes on"
    expect_same(run, whole)


@pytest.mark.slow
def test_two_queues_make_each_run_once(place: Path, tmp_path: Path) -> None:
    """Oracle: each run begins once over both queues, and no run before it lies in its folder."""
    made = [study_run(place, tmp_path, seed) for seed in (0, 1)]
    (tmp_path / "second").mkdir()
    queues = [start_queue(made, 1, tmp_path), start_queue(made, 1, tmp_path / "second")]
    said = [process.communicate(timeout=2 * PATIENCE)[0] for process in queues]
    assert [process.returncode for process in queues] == [0, 0], said
    text = "".join(said)
    assert text.count(": begins") == 2 and text.count(": done in") == 2 and "another process makes it" in text
    assert all(results(run) and not (run.path / "previous").exists() for run in made)


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_not_made_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what a user's objective raises at its second step stands in `failed.json`; nothing is written after."""
    (tmp_path / "user_broken.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    run = study_run(place, tmp_path, objectives={"causal": {"class_path": "user_broken.Broken"}})
    said: list[str] = []
    RunQueue(1, [], said.append).make([run], 1)
    assert run.is_done() and "this objective is broken" in (run.failure() or "")
    assert said[-1].startswith("[1/1] runs/tiny/0: failed: ") and len(table(run.path)) == 1
    before = {path: path.stat().st_mtime_ns for path in (run.path / LOG, run.path / FAILED)}
    RunQueue(1, [], said.append).make([run], 1)
    assert said[-1] == "1 of 1 runs are done"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_are_refused_with_the_first_difference(place: Path, tmp_path: Path) -> None:
    before, now = study_run(place, tmp_path), study_run(place, tmp_path, steps=7)
    before.path.mkdir(parents=True)
    with atomic_write(before.path / SETTINGS) as file:
        file.write(json.dumps(before.settings).encode())  # which is YAML
    before.check_settings()
    with pytest.raises(InputError) as refused:
        RunQueue(1, [], print).make([now], 1)
    expected = f"found {now.path} with trainer.max_steps 3, and now 7: give another output, or remove that folder"
    assert expected in str(refused.value) and "\n" not in str(refused.value)
    assert not (now.path / LOG).exists()


@pytest.mark.slow
def test_two_at_a_time_come_to_what_one_after_another_does(place: Path, tmp_path: Path) -> None:
    """Oracle: the same runs made one after another; both begin before either is done."""
    alone = [study_run(place, tmp_path / "alone", seed) for seed in (0, 1)]
    together = [study_run(place, tmp_path / "together", seed) for seed in (0, 1)]
    RunQueue(1, [], print).make(alone, 1)
    said: list[str] = []
    RunQueue(1, [], said.append).make(together, 2)
    assert ["begins" in line for line in said] == [True, True, False, False]
    for one, other in zip(alone, together, strict=True):
        expect_same(one, other)


def test_a_training_is_no_rank_of_the_job_that_it_is_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("HOME_OF_TEXTS", "kept")
    made = RunQueue(3, [], print)._environment("1")
    assert not [name for name in made if name.startswith("SLURM_")]
    assert (made["OMP_NUM_THREADS"], made["CUDA_VISIBLE_DEVICES"], made["HOME_OF_TEXTS"]) == ("3", "1", "kept")


SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [*SLEEPER[:2], f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEPER[2]}"]


@pytest.mark.parametrize("command", [SLEEPER, DEAF], ids=["ends by the signal", "is killed"])
def test_stop_returns_when_trainings_have_ended(
    command: list[str], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler stops a queue that waits, as in a job: its trainings end, no other begins, none has failed."""
    monkeypatch.setattr(module, "fit_command", lambda run: command)
    made, queue = [study_run(place, tmp_path, seed) for seed in (0, 1)], RunQueue(1, [], print)
    log, ended = made[0].path / LOG, SimpleNamespace(processes=None)

    def stop(signum: int, frame: object) -> None:
        queue.stop(1.0)
        ended.processes = {*queue._processes}
        raise SystemExit

    def alarm() -> None:
        while not log.is_file() or b"up" not in log.read_bytes():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, stop)
    thread = Thread(target=alarm)
    thread.start()
    try:
        with pytest.raises(SystemExit):
            queue.make(made, 1)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR2, before)
    assert ended.processes == set() and not (made[1].path / LOG).exists()
    assert not (made[0].path / FAILED).exists()
