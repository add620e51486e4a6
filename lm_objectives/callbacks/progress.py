"""Show progress: each objective's loss, tokens per second, time left."""

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

_EVERY = 0.5  # seconds between updates of the losses, each of which waits for the device
_NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
_LINES = 10  # lines over a training where the output is no terminal


class Progress(ProgressBar):
    """One bar over the whole training; where the output is no terminal, about ten lines instead."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm[Any] | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._total = pl_module.steps if pl_module.steps > 0 else None
        self._first = self._printed = trainer.global_step
        self._started, self._updated = time.monotonic(), 0.0
        self._tokens = pl_module.tokens_read
        if self._enabled and (sys.stderr.isatty() or _NOTEBOOK):
            self._bar = tqdm(total=self._total, initial=self._first, unit=" steps", dynamic_ncols=True, leave=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        step, now = trainer.global_step, time.monotonic()
        if not self._enabled or pl_module.last_step is None:
            return
        rate = (pl_module.tokens_read - self._tokens) / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if now - self._updated > _EVERY:
                self._updated = now
                self._bar.set_postfix_str(f"{_losses(pl_module)} {rate:,.0f} tokens/s")
        elif (
            self._total and step != self._printed and step * _LINES // self._total > (step - 1) * _LINES // self._total
        ):
            self._printed = step
            left = (self._total - step) * (now - self._started) / max(step - self._first, 1)
            minutes, seconds = divmod(round(left), 60)
            speed = f"{rate:,.0f} tokens/s  {minutes}:{seconds:02} left"
            print(f"step {step}/{self._total}  {_losses(pl_module)}  {speed}", file=sys.stderr)

    def on_train_end(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()


def _losses(module: Any) -> str:
    last = module.last_step
    pairs = zip(module.names, last.losses.tolist(), last.has_rows, strict=True)
    return " ".join(f"{name} {loss:.3f}" for name, loss, has_rows in pairs if has_rows)
