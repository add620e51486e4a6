"""Tokens a second, and the arithmetic that a run has done."""

import time
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.flop_counter import FlopCounterMode

from lm_objectives.corruption.base import View

_BACKWARD = 2  # a backward pass does the arithmetic of two forward passes


class Throughput(L.Callback):
    """Logs `train/tokens_per_second`, since the line before, and `train/flops`, since the start, over all ranks.

    FLOPs are those of matrix products and of attention, a causal one as a whole square. They are counted on the first
    micro-batch that an objective has rows in, by one more forward pass, and multiplied by rows and by 3 for forward and
    backward. Equal rows are equal tokens, not equal arithmetic: this is the number to compare objectives and balancers
    at.
    """

    def __init__(self) -> None:
        self._flops, self._per_row = 0.0, {}  # type: float, dict[tuple[str, int, int], float]
        self._of_step = 0.0  # apart, since a step that is cut short is taken again whole
        self._mark: tuple[float, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"flops": self._flops, "per_row": [[*kind, flops] for kind, flops in self._per_row.items()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._flops = state_dict["flops"]
        self._per_row = {(name, read, written): flops for name, read, written, flops in state_dict["per_row"]}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        del trainer, batch_idx
        for name in batch.views:
            host = pl_module.sources[name].view_of or name
            kind = _kind(host, batch.views[host])
            if kind not in self._per_row:
                guests = {n: v for n, v in batch.views.items() if host in (n, pl_module.sources[n].view_of)}
                self._per_row[kind] = _forward_flops(pl_module, guests) / len(batch.views[host].ids)
        if self._mark is None:
            self._mark = (time.monotonic(), pl_module.tokens_read)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del outputs, batch_idx
        kinds = {_kind(name, view): len(view.ids) for name, view in batch.views.items()}
        rows = sum(self._per_row[kind] * count for kind, count in kinds.items() if kind in self._per_row)
        self._of_step += (1 + _BACKWARD) * rows * trainer.world_size
        if trainer.fit_loop._should_accumulate():
            return
        self._flops, self._of_step = self._flops + self._of_step, 0.0
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if pl_module.last_step is None or trainer.global_step % every:
            return
        assert self._mark is not None
        now, tokens = time.monotonic(), pl_module.tokens_read
        speed = (tokens - self._mark[1]) / max(now - self._mark[0], 1e-9)
        self._mark = (now, tokens)
        values = {"train/tokens_per_second": speed, "train/flops": self._flops}
        pl_module.log_dict(values, batch_size=1, rank_zero_only=True)


def _kind(host: str, view: View) -> tuple[str, int, int]:
    """What rows of the same arithmetic have in common: their objective, and how long they are read and written."""
    return host, view.ids.shape[1], 0 if view.decoder is None else view.decoder.shape[1]


@torch.no_grad()
def _forward_flops(module: Any, views: dict[str, Any]) -> int:
    with (
        torch.random.fork_rng([module.device] if module.device.type == "cuda" else []),
        FlopCounterMode(display=False, custom_mapping=_MISSING) as counter,
    ):
        module.outcomes(views)
    return counter.get_total_flops()


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    rows, heads, time, dim = query
    return 2 * rows * heads * time * key[2] * (dim + value[3])


# torch counts attention on a GPU alone.
_MISSING = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
