"""Log tokens per second, and the FLOPs that a run has done."""

import time
from typing import Any

import lightning.pytorch as L

from lm_objectives.training.end_step import THROUGHPUT
from lm_objectives.training.flops import FlopCounter


class Throughput(L.Callback):
    """Logs `train/tokens_per_second`, since the row before, and `train/flops`, since the start, over all ranks.

    FLOPs are model FLOPs (see `flops.training_flops`), forward and backward, for each rank as for the first. The first
    micro-batches of each kind are counted by one more forward pass each, before they are trained on. Equal rows are
    equal tokens, not equal arithmetic: this is the number to compare objectives and balancers at.
    """

    def __init__(self) -> None:
        self._flops, self._count = 0, FlopCounter()
        self._of_step = 0  # kept apart, since a step that is cut short is repeated as a whole
        self._mark: tuple[float, int] | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            Throughput.__init__(self)  # another fit counts anew

    def state_dict(self) -> dict[str, Any]:
        return {"flops": self._flops}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._flops = state_dict["flops"]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        self._of_step += self._count(pl_module, batch.views) * trainer.world_size
        if self._mark is None:
            self._mark = (time.monotonic(), pl_module.tokens_read)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        self._flops, self._of_step = self._flops + self._of_step, 0
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if pl_module.last_step is None or not every or trainer.global_step % every:
            return
        assert self._mark is not None
        now, tokens = time.monotonic(), pl_module.tokens_read
        speed = (tokens - self._mark[1]) / max(now - self._mark[0], 1e-9)
        self._mark = (now, tokens)
        values = dict(zip(THROUGHPUT, (speed, float(self._flops)), strict=True))
        pl_module.log_dict(values, batch_size=1, rank_zero_only=True)
