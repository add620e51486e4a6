"""The real command line in processes that can be killed at any moment, and what it leaves behind."""

import csv
import os
import random
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context, set_start_method
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from lm_objectives.training.checkpoint import read_checkpoint
from utils.exactness_runs import tensors_in
from utils.small_corpus import TOKENS

STEPS, UNIT = 24, 4
_BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}  # has dropout
_CLOCK = "train/tokens_per_second"
_PATIENCE = 120.0  # seconds that one process may take
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["lm_objectives.cli.main"])


@dataclass(frozen=True)
class Kills:
    """How often a run is killed, and when: drawn from a seed.

    Attributes:
        count: kills in a row, at rising steps.
        seed: of the steps and of the delays within them.
        delay: the longest wait, in seconds, from a step's row in `metrics.csv` to the kill.
    """

    count: int
    seed: int
    delay: float = 0.06

    def moments(self) -> list[tuple[int, float]]:
        """Steps and delays."""
        draw = random.Random(self.seed)
        return [(step, draw.uniform(0, self.delay)) for step in sorted(draw.sample(range(1, STEPS - 1), self.count))]


@dataclass(frozen=True)
class Job:
    """What SLURM tells the processes of a job.

    Attributes:
        number: of the job.
        tools: folder with a `scontrol`.
        restarts: how often it was requeued; `None` leaves this out.
    """

    number: int
    tools: Path
    restarts: int | None = None

    def environment(self, rank: int, ranks: int) -> dict[str, str]:
        """Variables of a task that `srun` starts."""
        numbers = {"NTASKS": ranks, "NTASKS_PER_NODE": ranks, "NNODES": 1, "PROCID": rank, "LOCALID": rank, "NODEID": 0}
        numbers |= {"JOB_ID": self.number} | ({} if self.restarts is None else {"RESTART_COUNT": self.restarts})
        path = {"PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_NAME": "train"}
        return path | {f"SLURM_{name}": str(number) for name, number in numbers.items()}


def settings(place: Path, balancer: str | dict[str, Any], **data: Any) -> dict[str, Any]:
    """A run with all that moves: dropout, two micro-batches a step, and ramps of share, mask rate and window.

    It is validated, and saves, in the middle of epochs and at steps that do and do not meet.
    """
    keep = {"every_n_train_steps": 2, "save_top_k": 0, "save_last": True, "enable_version_counter": False}
    best = {"monitor": "val/causal/loss", "filename": "best", "enable_version_counter": False}
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": STEPS,
            "accumulate_grad_batches": 2,
            "gradient_clip_val": 1.0,
            "log_every_n_steps": 1,
            "val_check_interval": 6,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "callbacks": [
                {"class_path": "ModelCheckpoint", "init_args": keep},
                {"class_path": "ModelCheckpoint", "init_args": best},
                {"class_path": "EarlyStopping", "init_args": {"monitor": "val/masked/loss", "patience": 99}},
            ],
        },
        "tracking": {"wandb": "off"},
        "model": {
            "backbone": {"model_type": "bert", "config": _BERT},
            "objectives": {
                "causal": {"class_path": "CausalLM", "init_args": {"share": [[0, 2.0], [20, 1.0]]}},
                "masked": {"class_path": "MaskedLM", "init_args": {"mask_rate": [[0.0, 0.3], [1.0, 0.15]]}},
                "order": "SentenceOrder",
            },
            "balancer": balancer,
        },
        "data": {
            "corpus": str(place / "corpus.jsonl"),
            "tokenizer": TOKENS,
            "seq_len": [[0, 8], [5, 16], [11, 32]],
            "global_batch_size": 5 * UNIT,
            "batch_multiple": UNIT,
            "validation_rows": 4,
            "cache": str(place / "cache"),
            **data,
        },
    }


def _command(arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
    from lm_objectives.__main__ import main

    os.environ |= environment
    set_start_method(None, force=True)  # of workers: as in a process that was started by hand
    os.chdir(log.parent)  # a checkpoint's paths are then alike in all runs
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(main(arguments))


class Training:
    """One run, carried out by as many processes one after another as it is killed, on one rank or two.

    Args:
        place: where the run's folder is made.
        config: its settings.
        ranks: processes that train together.

    Attributes:
        kills: how often it was killed.
        in_writing: how often while a file was being written.
    """

    def __init__(self, place: Path, config: dict[str, Any], ranks: int = 1) -> None:
        self.root, self.ranks = place / "run", ranks
        self.kills = self.in_writing = 0
        place.mkdir()
        self._config = self.root.with_suffix(".yaml")
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def last(self) -> Path:
        return self.root / "checkpoints" / "last.ckpt"

    def run(self, kills: Kills | None = None) -> "Training":
        """Train to the end; killed, and gone on with, as told."""
        for step, delay in kills.moments() if kills else ():
            processes = self.start()
            self.wait_for(step, processes)
            time.sleep(delay)
            alive = [process for process in processes if process.is_alive()]
            for process in alive:
                process.kill()
            for process in processes:
                process.join()
            self.kills += bool(alive)
            self.in_writing += any(self.root.rglob("*.part"))
            self.check()
        if any(self.end(self.start())):
            raise RuntimeError(self.log())
        return self

    def start(self, *more: str, job: Job | None = None) -> list[Any]:
        """The processes of the ranks, which begin the run or go on with it; under SLURM they are told neither."""
        arguments = ["fit", "--config", str(self._config), "--trainer.default_root_dir", self.root.name, *more]
        if self.last.exists() and job is None:
            arguments += ["--ckpt_path", "last"]
        shared: dict[str, str] = {}
        if self.ranks > 1:
            arguments += ["--trainer.devices", str(self.ranks), "--trainer.strategy", "ddp"]
            port = str(_free_port())
            shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if job is None:
                shared |= {"TORCHELASTIC_RUN_ID": port, "GROUP_RANK": "0"}
                shared |= {"WORLD_SIZE": str(self.ranks), "LOCAL_WORLD_SIZE": str(self.ranks)}
        processes = []
        for rank in range(self.ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if self.ranks > 1 and job is None else {}
            own |= {} if job is None else job.environment(rank, self.ranks)
            processes.append(
                _FORKS.Process(target=_command, args=(arguments, shared | own, self.root.with_suffix(".log")))
            )
            processes[-1].start()
        return processes

    def wait_for(self, step: int, processes: Sequence[Any]) -> None:
        """Wait until a step has its row, or a process has ended."""
        while self._step() < step and all(process.is_alive() for process in processes):
            time.sleep(0.001)

    def end(self, processes: Sequence[Any], patience: float = _PATIENCE) -> list[int]:
        """Exit codes of processes, all of which have to end within so many seconds."""
        end = time.monotonic() + patience
        for process in processes:
            process.join(max(end - time.monotonic(), 0))
        late = [process for process in processes if process.is_alive()]
        for process in late:
            process.kill()
        if late:
            raise TimeoutError(self.log())
        return [process.exitcode for process in processes]

    def log(self) -> str:
        """All that the run's processes have printed."""
        return self.root.with_suffix(".log").read_text(encoding="utf-8")

    def _step(self) -> int:
        """The last step with a row; one that is being written is none."""
        path = self.root / "metrics.csv"
        text = path.read_text(encoding="utf-8") if path.exists() else ""  # at once: lines would be cut where they grow
        rows = list(csv.DictReader(line for line in text.splitlines(keepends=True) if line.endswith("\n")))
        return int(rows[-1]["step"]) if rows else -1

    def table(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`, without the column that depends on the clock."""
        with (self.root / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [{key: value for key, value in row.items() if key != _CLOCK} for row in rows]

    def check(self) -> None:
        """What a kill left can be read: the last checkpoint, and a table of whole rows, one for each step and kind."""
        if self.last.exists():
            read_checkpoint(str(self.last))
        rows = self.table() if (self.root / "metrics.csv").exists() else []
        assert all(None not in row and None not in row.values() for row in rows)
        kinds = [(row["step"], bool(row.get("train/loss"))) for row in rows]
        assert len(set(kinds)) == len(kinds)

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """All numbers in a checkpoint, by path: weights, optimizer, balancer, schedule, callbacks, counts.

        Left out is what Lightning neither restores nor reads: a pass or a clearing of gradients that began twice, and
        the last score that a callback saw.
        """
        checkpoint, saved = read_checkpoint(str(self.root / "checkpoints" / name))
        loop = checkpoint["loops"]["fit_loop"]
        checkpoint["loops"] = {key: loop[key] for key in loop if "val_loop" not in key}
        names = {f"{step}: {' '.join(who)}": step for step, who in saved.activity}  # text is not compared
        numbers = tensors_in(checkpoint | {"activity": names})
        unread = (_CLOCK, "zero_grad", "current_score")
        return {path: number for path, number in numbers.items() if not any(name in path for name in unread)}

    def files(self) -> list[str]:
        """What lies in the run's folder."""
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if path.parts[0] != "previous")


def differing_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, int]:
    """Bits in which two states are not the same, by path."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    found = {name: _differing(one[name], other[name]) for name in one}
    return {name: bits for name, bits in found.items() if bits}


def _differing(one: torch.Tensor, other: torch.Tensor) -> int:
    assert one.shape == other.shape and one.dtype == other.dtype
    a, b = (tensor.contiguous().reshape(-1).view(torch.uint8).numpy() for tensor in (one, other))
    return int(np.unpackbits(a ^ b).sum())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
