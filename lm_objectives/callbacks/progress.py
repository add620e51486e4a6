"""The progress bar: each objective's loss, tokens a second, time left."""

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

_EVERY = 0.5  # seconds between looks at the losses, each of which waits for the device
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
        self._first = self._told = trainer.global_step  # the last step that a line told of
        self._started, self._looked = time.monotonic(), 0.0  # when the losses were last looked at
        self._tokens = pl_module.tokens_read
        if self._enabled and sys.stderr.isatty():
            self._bar = tqdm(total=self._total, initial=self._first, unit=" steps", dynamic_ncols=True, leave=True)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del outputs, batch, batch_idx
        step, now = trainer.global_step, time.monotonic()
        if not self._enabled or pl_module.last_step is None:
            return
        rate = (pl_module.tokens_read - self._tokens) / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if now - self._looked > _EVERY:
                self._looked = now
                self._bar.set_postfix_str(f"{_losses(pl_module)} {rate:,.0f} tokens/s")
        elif self._total and step != self._told and step * _LINES // self._total > (step - 1) * _LINES // self._total:
            self._told = step
            left = (self._total - step) * (now - self._started) / max(step - self._first, 1)
            minutes, seconds = divmod(round(left), 60)
            speed = f"{rate:,.0f} tokens/s  {minutes}:{seconds:02} left"
            print(f"step {step}/{self._total}  {_losses(pl_module)}  {speed}", file=sys.stderr)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del trainer, pl_module
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        del trainer, pl_module, exception
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _losses(module: Any) -> str:
    last = module.last_step
    pairs = zip(module.names, last.losses.tolist(), last.has_rows, strict=True)
    return " ".join(f"{name} {loss:.3f}" for name, loss, present in pairs if present)
