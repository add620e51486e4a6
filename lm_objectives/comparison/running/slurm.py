"""The runs of a study as jobs of a SLURM cluster, by submitit: each goes on where its time ended."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lm_objectives.comparison.running.machine import threads_of
from lm_objectives.comparison.running.runs import RunQueue, say, unfinished
from lm_objectives.comparison.running.study_run import StudyRun
from lm_objectives.errors import InputError, RunError, expect
from lm_objectives.strict_yaml import read_mapping

if TYPE_CHECKING:
    from submitit import AutoExecutor
    from submitit.helpers import DelayedSubmission

JOBS = "jobs"
"""Folder in a study's of what submitit writes: jobs, and what they said."""

_CLUSTERS = ("slurm", "local", "debug")
_RETURNS = 20  # times that a job's time may end before the command has to be given again
_DELAYS = {"slurm": 90, "local": 30, "debug": 30}  # seconds from submitit's signal to a job's end, where none are set
_PART = 2 / 3  # of them for the training to end; the rest is for submitit, which then requeues the job
_NO_END = 7 * 24 * 60  # minutes of a job on this machine, where submitit would give it two
_ONE = ("nodes", "tasks_per_node", "ntasks_per_node")


class RunJob:
    """One run as a job, in which a training is made as in any study, and gone on with however often the job begins.

    Args:
        run: what is made.
        threads: CPU threads of its training.
        patience: seconds that the training has to save a checkpoint and end, where the job's time does.
    """

    def __init__(self, run: StudyRun, threads: int, patience: float) -> None:
        self.run, self.threads, self.patience = run, threads, patience
        self._queue: RunQueue | None = None

    def __call__(self) -> None:
        """Make the run, or what is left of it."""
        self._queue = RunQueue(self.threads, [], partial(print, flush=True))
        try:
            self._queue.make([self.run], 1)
        except RunError:
            time.sleep(self.patience)  # what ended the training was perhaps for the whole job, whose signal comes next
            raise

    def checkpoint(self) -> "DelayedSubmission":
        """End the training with a checkpoint, where the job's time ends or it is preempted.

        Returns:
            The same job, which submitit requeues.
        """
        from submitit.helpers import DelayedSubmission

        if self._queue is not None:
            self._queue.stop(self.patience)
        return DelayedSubmission(RunJob(self.run, self.threads, self.patience))


@dataclass(frozen=True)
class Cluster:
    """Where a study's runs are made as jobs of their own, and what each job asks for.

    Attributes:
        cluster: slurm; local, processes of this machine, or debug, this process, to try a file out.
        parallel: jobs at a time; by default as many as SLURM allows, and one on this machine.
        parameters: of each job, as submitit's `AutoExecutor.update_parameters` takes them.
    """

    cluster: str = "slurm"
    parallel: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(path: str | Path) -> "Cluster":
        """The cluster of a YAML file: `cluster`, `parallel`, and submitit's parameters, such as `timeout_min`.

        Raises:
            InputError: for what is no cluster, or is not here, and where submitit refuses a parameter.
        """
        file = Path(path).expanduser()
        expect(file.is_file(), f"a cluster's YAML file at {file}", "none", "check the path")
        parameters = read_mapping(file, "cluster", "timeout_min, gpus_per_node")
        cluster, parallel = parameters.pop("cluster", "slurm"), parameters.pop("parallel", None)
        expect(cluster in _CLUSTERS, f"cluster in {file} to be one of {', '.join(_CLUSTERS)}", cluster, "correct it")
        valid = parallel is None or (type(parallel) is int and parallel > 0)
        expect(valid, f"parallel in {file} to be a number of jobs from 1 on", repr(parallel), "correct it")
        made = Cluster(cluster, parallel, parameters)
        made._check(file)
        return made

    def _check(self, file: Path) -> None:
        """Raise for what no job can be."""
        for key, value in self.parameters.items():
            mend = "leave it out; one with trainer.devices of several starts the others itself"
            name = key.removeprefix(f"{self.cluster}_")
            expect(name not in _ONE or value == 1, f"jobs of one process in {file}", f"{key} {value}", mend)
        timed = not {"timeout_min", "slurm_timeout_min", "slurm_time"}.isdisjoint(self.parameters)
        mend = "say how long a job may take; a run that takes longer goes on in another"
        expect(timed or self.cluster != "slurm", f"timeout_min in {file}, in minutes", "none", mend)
        delay = self.parameters.get("slurm_signal_delay_s", 90)
        valid = type(delay) is int and delay > 0
        expect(valid, f"slurm_signal_delay_s in {file} in seconds above 0", repr(delay), "correct it")
        with TemporaryDirectory() as folder:
            try:
                self._executor(Path(folder))
            except (AssertionError, NameError, TypeError, ValueError) as error:
                said = " ".join(str(error).split())[:200]
                raise InputError(
                    f"expected parameters of submitit's update_parameters in {file}, found that it refuses one: {said}"
                ) from error
            except RuntimeError as error:
                raise InputError(
                    f"expected a machine that jobs are submitted from, for cluster {self.cluster} in {file}, found "
                    "none with srun: give the command there, or write cluster: local"
                ) from error

    def _executor(self, folder: Path) -> "AutoExecutor":
        try:
            from submitit import AutoExecutor
        except ImportError as error:
            raise InputError(
                'expected submitit for --submit, found none: pip install "lm-objectives[slurm]"'
            ) from error
        returns = {} if self.cluster == "debug" else {f"{self.cluster}_max_num_timeout": _RETURNS}
        executor = AutoExecutor(folder, self.cluster, **returns)
        parameters = self.parameters
        if self.cluster == "slurm" and self.parallel is not None:
            parameters = {**parameters, "slurm_array_parallelism": self.parallel}
        if self.cluster == "local":
            parameters = {"timeout_min": _NO_END, **parameters}
        executor.update_parameters(**parameters)
        return executor

    def make(self, runs: Sequence[StudyRun]) -> bool:
        """Submit a job for each run that is not done; on this machine, wait for them.

        Returns:
            Whether all runs are done, or have failed.

        Raises:
            InputError: where a folder holds a run of other settings, or SLURM refuses the jobs.
        """
        left = unfinished(runs)
        if left:
            executor = self._executor(left[0].root / JOBS)
            jobs = [RunJob(run, self._threads(), self._patience()) for run in left]
            if self.cluster == "slurm":
                _submit(executor, jobs)
            else:
                with ThreadPoolExecutor(self.parallel or 1) as pool:
                    [*pool.map(partial(_carry_out, executor), jobs)]
        return all(run.is_done() for run in runs)

    def _threads(self) -> int:
        """CPU threads of a training: SLURM gives a job one where it asks for none."""
        if self.cluster != "slurm":
            return threads_of(self.parallel or 1)
        return int(self.parameters.get("slurm_cpus_per_task", self.parameters.get("cpus_per_task", 1)))

    def _patience(self) -> float:
        delay = _DELAYS[self.cluster]
        return _PART * (self.parameters.get("slurm_signal_delay_s", delay) if self.cluster == "slurm" else delay)


def _submit(executor: "AutoExecutor", jobs: Sequence[RunJob]) -> None:
    """Submit jobs as one array, and show their numbers."""
    try:
        submitted = executor.submit_array(jobs)
    except RuntimeError as error:
        said = " ".join(str(error).split())[-200:]
        raise InputError(f"expected SLURM to take the jobs, found that it refuses them: {said}") from error
    for job, made in zip(submitted, jobs, strict=True):
        say(f"job {job.job_id}: {made.run.folder}")
    say("give the same command with --report once they have ended")


def _carry_out(executor: "AutoExecutor", job: RunJob) -> None:
    submitted = executor.submit(job)
    say(f"job {submitted.job_id}: {job.run.folder}")
    fault = submitted.exception()
    if fault is not None:
        lines = str(fault).strip().splitlines()
        say(f"job {submitted.job_id} ended before its run did: {lines[-1] if lines else type(fault).__name__}")
