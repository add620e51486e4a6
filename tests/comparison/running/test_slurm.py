"""Runs as jobs of submitit; its local executor stands for SLURM: it signals a job and begins it again as that does."""

import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from utils.study_runs import PATIENCE, expect_same, is_alive, parent_of, study_run, training_of, wait_for_steps

from lm_objectives.comparison.running import slurm
from lm_objectives.comparison.running.runs import RunQueue
from lm_objectives.comparison.running.slurm import JOBS, Cluster, RunJob
from lm_objectives.comparison.running.study_run import FAILED, LOG, StudyRun
from lm_objectives.errors import InputError

submitit = pytest.importorskip("submitit")

STEPS = 24


@pytest.fixture(scope="module")
def whole(place: Path) -> StudyRun:
    """The run that is left alone."""
    run = study_run(place, place / "whole", steps=STEPS)
    RunQueue(1, [], print).make([run], 1)
    return run


def written(place: Path, **content: Any) -> Path:
    file = place / "cluster.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an `srun`, by which submitit knows a cluster, and an `sbatch` that keeps what it is given."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text("#!/bin/sh\n", encoding="utf-8")
    (tools / "sbatch").write_text(
        f'#!/bin/sh\ncp "$1" {tools}/submitted.sh\necho Submitted batch job 4711\n', encoding="utf-8"
    )
    for file in tools.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tools


REFUSED: dict[str, tuple[str, str]] = {
    "an unknown cluster": ("cluster: lsf", r"expected cluster in .* to be one of slurm, local, debug, found lsf: "),
    "a list": ("[local]", r"expected the settings of a cluster in .*, found list: write timeout_min, "),
    "nothing": ("", r"expected the settings of a cluster in .*, found nothing: write "),
    "no YAML": ("{cluster: local", r"expected YAML in .*, found a mistake: ParserError: .*: correct it"),
    "a key twice": (
        "cluster: local\ncluster: debug",
        r"expected each key once in .*, found cluster on line 1 and",
    ),
    "jobs at a time": ("{cluster: local, parallel: 0}", r"expected parallel in .* from 1 on, found 0: correct it"),
    "a word for them": ("{cluster: local, parallel: two}", r"expected parallel in .* from 1 on, found 'two': "),
    "a yes for them": ("{cluster: local, parallel: true}", r"expected parallel in .* from 1 on, found True: "),
    "no prefix": ("{cluster: local, gpus: 2}", r"expected parameters of .*, found .*'gpus' need to be prefixed"),
    "a parameter of none": (
        "{cluster: local, slurm_partitio: x}",
        r"found .*: Unknown argument 'partitio' for ",
    ),
    "its type": (
        "{cluster: local, timeout_min: soon}",
        r"found that it refuses one: Parameter .timeout_min. ",
    ),
    "processes": (
        "{cluster: local, tasks_per_node: 4}",
        r"expected jobs of one process in .*, found tasks_per_node 4",
    ),
    "nodes": ("{slurm_nodes: 2, timeout_min: 9}", r"expected jobs of one process in .*, found slurm_nodes 2: leave"),
    "no time": ("{slurm_partition: gpu}", r"expected timeout_min in .*, in minutes, found none: say how long"),
    "a delay": (
        "{timeout_min: 9, slurm_signal_delay_s: 0}",
        r"expected slurm_signal_delay_s in .*, found 0: correct it",
    ),
    "SLURM elsewhere": ("timeout_min: 9", r"for cluster slurm in .*, found none with srun: give the command there, or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_cluster_is_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, told = REFUSED[case]
    monkeypatch.setenv("PATH", str(tmp_path))  # without srun
    file = tmp_path / "cluster.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=told) as refused:
        Cluster.read(file)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_and_submitit_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"expected a cluster's YAML file at .*none.yaml, found none: check the path"):
        Cluster.read(tmp_path / "none.yaml")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r'expected submitit for --submit, found none: pip install "lm-objectives\['):
        Cluster.read(written(tmp_path, cluster="local"))


def test_a_cluster_is_what_its_file_says(tmp_path: Path) -> None:
    read = Cluster.read(written(tmp_path, cluster="local", parallel=2, timeout_min=9, slurm_partition="gpu"))
    assert read == Cluster("local", 2, {"timeout_min": 9, "slurm_partition": "gpu"})


def test_slurm_gets_one_array_and_is_not_waited_for(
    tools: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the batch script that `sbatch` is given, and the jobs that it would begin; a run that failed is left."""
    file = written(tmp_path, parallel=2, timeout_min=60, gpus_per_node=1, cpus_per_task=6, slurm_partition="gpu")
    runs = [study_run(place, tmp_path, seed) for seed in (0, 1, 2)]
    runs[1].path.mkdir(parents=True)
    (runs[1].path / FAILED).write_text('{"reason": "it diverged"}', encoding="utf-8")
    assert not Cluster.read(file).make(runs)
    script = (tools / "submitted.sh").read_text(encoding="utf-8")
    options = ("--array=0-1%2", "--time=60", "--gpus-per-node=1", "--cpus-per-task=6", "--partition=gpu")
    assert all(f"#SBATCH {option}\n" in script for option in options)
    assert "#SBATCH --signal=USR2@90\n" in script
    said = capsys.readouterr().err
    assert "job 4711_0: runs/tiny/0\njob 4711_1: runs/tiny/2\n" in said and "--report" in said
    jobs = [submitit.core.utils.DelayedSubmission.load(tmp_path / JOBS / f"4711_{n}_submitted.pkl") for n in (0, 1)]
    assert [(job.function.run, job.function.threads, job.function.patience) for job in jobs] == [
        (run, 6, 60.0) for run in (runs[0], runs[2])
    ]


def test_what_sbatch_refuses_is_one_line(tools: Path, place: Path, tmp_path: Path) -> None:
    (tools / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected SLURM to take the jobs, found .*invalid partition") as refused:
        Cluster.read(written(tmp_path, timeout_min=60)).make([study_run(place, tmp_path)])
    assert "\n" not in str(refused.value)


def test_runs_that_are_done_are_not_submitted(place: Path, tmp_path: Path) -> None:
    run = study_run(place, tmp_path)
    run.path.mkdir(parents=True)
    (run.path / FAILED).write_text('{"reason": "it diverged"}', encoding="utf-8")
    assert Cluster.read(written(tmp_path, cluster="debug")).make([run])
    assert not (tmp_path / JOBS).exists() and not (run.path / LOG).exists()


def test_a_job_is_pickled_while_it_runs_and_not_begun(place: Path, tmp_path: Path) -> None:
    job = RunJob(study_run(place, tmp_path), 2, 3.0)
    again = job.checkpoint().function  # a signal that comes before the job begins
    assert (again.run, again.threads, again.patience) == (job.run, 2, 3.0)
    assert pickle.loads(pickle.dumps(again)).run == job.run


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_this_machine_makes_runs_and_waits(
    cluster: str,
    place: Path,
    whole: StudyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Oracle: the run that a queue makes with as many threads, to the bit."""
    monkeypatch.setattr(slurm, "threads_of", lambda jobs: 1)
    run = study_run(place, tmp_path, steps=STEPS)
    made = Cluster.read(written(tmp_path, cluster=cluster)).make([run])
    assert made and "runs/tiny/0\n" in capsys.readouterr().err
    expect_same(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [False, True], ids=["the job is told", "all of its processes are told"])
def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(
    everyone: bool, place: Path, whole: StudyRun, tmp_path: Path
) -> None:
    """Oracle: the run that was left alone; SLURM may signal a job's processes too, which must not end the training."""
    run = study_run(place, tmp_path, steps=STEPS)
    cluster = Cluster.read(written(tmp_path, cluster="local"))
    job = cluster._executor(tmp_path / JOBS).submit(RunJob(run, 1, 20.0))
    wait_for_steps(run, 5, job._process)
    training = training_of(run)
    if everyone:
        os.kill(training, signal.SIGUSR2)
    os.kill(parent_of(training), signal.SIGUSR2)
    end = time.monotonic() + PATIENCE
    while is_alive(training) and time.monotonic() < end:
        time.sleep(0.05)
    assert job.exception() is None
    text = job.stdout() or ""
    assert text.count("runs/tiny/0: begins") == 1 and text.count("runs/tiny/0: goes on") == 1, text
    assert "stopped after step" in (run.path / LOG).read_text(encoding="utf-8")
    assert not (run.path / "previous").exists() and not (run.path / FAILED).exists()
    expect_same(run, whole)
