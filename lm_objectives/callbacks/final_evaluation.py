"""Evaluate a model where its training ends, as the command `evaluate` does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from lm_objectives.callbacks.interrupt import last_checkpoint
from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.evaluation.evaluate import check_settings, choose_readings, make_tasks, run_tasks
from lm_objectives.evaluation.halves import Documents
from lm_objectives.evaluation.model import from_module
from lm_objectives.evaluation.picture import draw
from lm_objectives.evaluation.readings.collect import collect_readings
from lm_objectives.evaluation.results import Evaluation
from lm_objectives.evaluation.scorer import NonFiniteScoresError, Precision
from lm_objectives.evaluation.store import STORE
from lm_objectives.evaluation.tracking import log_evaluation
from lm_objectives.objectives import Objective
from lm_objectives.training.step import NonFiniteError

_FITS = count()  # of a process; all ranks have as many


@dataclass(frozen=True)
class EvaluationSettings:
    """What a run is evaluated on where its training ends; `lm-objectives evaluate` does it at any time.

    Args:
        tasks: held_out, swaps, probes, and name=path for files; by default nothing is evaluated.
        readings: ways of reading, such as causal or masked; by default all that the objectives have.
        items: of each group of a task, at most; 0 takes all.
        batch_tokens: tokens of a batch, at most.
        precision: of the products.
        seed: chooses the items, and draws what tasks make.
        documents: which of the held-out ones: all, or the half to tune settings on, or the one to report.
    """

    tasks: list[str] | None = None
    readings: list[str] | None = None
    items: int = 0
    batch_tokens: int = 16384
    precision: Precision = "32-true"
    seed: int = 0
    documents: Documents = "all"

    def check(self, objectives: Mapping[str, Objective]) -> None:
        """Raise where there is no such task, file or reading, before anything is trained."""
        check_settings(self.items, self.batch_tokens, self.seed, self.precision, self.documents)
        if self.tasks:
            make_tasks(self.tasks)
            choose_readings(collect_readings(objectives), self.readings)


class FinalEvaluation(L.Callback):
    """Evaluates on the first process where a training has ended, but for one that a signal stopped.

    `evaluation.json` and `evaluation.png` go into the run's folder, the numbers to its loggers and into the Trainer's
    `callback_metrics`.

    Args:
        settings: what on.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        dry = trainer.fast_dev_run  # type: ignore[attr-defined]
        if not self.settings.tasks or trainer.interrupted or dry:
            return
        with _others_wait(trainer) as is_first:
            if is_first:
                self._evaluate_and_log(trainer, pl_module)

    def _evaluate_and_log(self, trainer: L.Trainer, pl_module: Any) -> None:
        root, training, device = Path(trainer.default_root_dir), pl_module.training, pl_module.device
        trainer.strategy.model_to_device()  # the Trainer has moved it to the CPU
        try:
            evaluation = self._evaluate(trainer, pl_module, root)
        except NonFiniteScoresError as error:
            raise NonFiniteError(str(error)) from error
        finally:
            pl_module.train(training)
            pl_module.to(device)
        evaluation.save(root / "evaluation.json")
        draw(evaluation, root / "evaluation.png")
        log_evaluation(evaluation, trainer.loggers, trainer.global_step - 1)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in evaluation.numbers().items()})
        print("\n".join([evaluation.table(), *evaluation.notes]))

    def _evaluate(self, trainer: L.Trainer, module: Any, root: Path) -> Evaluation:
        settings, data = self.settings, trainer.datamodule  # type: ignore[attr-defined]
        throughput = next((c for c in trainer.callbacks if isinstance(c, Throughput)), None)  # type: ignore[attr-defined]
        flops = None if throughput is None else throughput.state_dict()["flops"]
        known = {"ckpt": str(last_checkpoint(trainer)), "steps": trainer.global_step, "tokens": module.tokens_read}
        model = from_module(module, module.tokenizer, data.text, {**known, "flops": flops})
        return run_tasks(
            model,
            make_tasks(settings.tasks or ()),
            choose_readings(model.readings, settings.readings),
            items=settings.items,
            batch_tokens=settings.batch_tokens,
            precision=settings.precision,
            seed=settings.seed,
            documents=settings.documents,
            store=root / STORE,
        )


@contextmanager
def _others_wait(trainer: L.Trainer) -> Iterator[bool]:
    """Whether this process is the first; the others stay until it is done, or end with it."""
    if trainer.world_size == 1:
        yield True
        return
    store, key = torch.distributed.distributed_c10d._get_default_store(), f"lm_objectives/evaluated/{next(_FITS)}"
    try:
        yield trainer.is_global_zero
    finally:
        if trainer.is_global_zero:
            store.set(key, "done")
    store.wait([key], timedelta(days=7))  # a collective would end after some minutes
