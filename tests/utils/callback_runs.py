"""One short training of a tiny model in this process."""

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from torch import Tensor

from lm_objectives import Backbone, LRSchedule, Pretraining, TextDataModule
from lm_objectives.balancers import Balancer
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, SentenceOrder
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW

STEPS = 6


def three() -> dict[str, Objective]:
    """Each with rows of its own."""
    return {"causal": CausalLM(), "masked": MaskedLM(), "order": SentenceOrder()}


def fit(
    text: Path,
    root: Path,
    callbacks: Sequence[Callback] = (),
    *,
    objectives: Mapping[str, Objective] | None = None,
    balancer: Balancer | None = None,
    resume: Path | None = None,
    compiler: Callable[[Pretraining], Any] = lambda module: module,
    **settings: Any,
) -> tuple[L.Trainer, Pretraining]:
    """Train on the corpus in `text`, whose cache lies beside it, in the run's folder `root`.

    `compiler` makes of the module what the Trainer gets.
    """
    module, data = new_module(objectives, balancer), new_data(text)
    trainer = new_trainer(root, callbacks, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(compiler(module), data, ckpt_path=None if resume is None else str(resume), weights_only=True)
    return trainer, module


def new_module(objectives: Mapping[str, Objective] | None = None, balancer: Balancer | None = None) -> Pretraining:
    torch.manual_seed(0)
    return Pretraining(
        Backbone("llama", BACKBONE), dict(objectives or three()), balancer, lr_schedule=LRSchedule("constant", warmup=0)
    )


def new_data(text: Path) -> TextDataModule:
    return TextDataModule(
        str(text), tokenizer=TOKENS, seq_len=WINDOW, global_batch_size=ROWS, batch_multiple=2, cache=str(text.parent)
    )


def new_trainer(root: Path, callbacks: Sequence[Callback] = (), **settings: Any) -> L.Trainer:
    defaults: dict[str, Any] = {"max_steps": STEPS, "logger": False, "log_every_n_steps": 1, "limit_val_batches": 0}
    return L.Trainer(
        default_root_dir=root,
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **defaults | settings,
    )


def state(module: L.LightningModule) -> dict[str, Tensor]:
    """A copy of everything that a checkpoint keeps of a module."""
    return {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def different(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names of what is not equal to the last bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@contextlib.contextmanager
def interrupted() -> Any:
    """A training that Ctrl-C ends: Lightning leaves the process, with 1."""
    try:
        yield
    except SystemExit as error:
        assert error.code == 1 and isinstance(error.__context__, KeyboardInterrupt)
    else:
        raise AssertionError("the training went on to its end")
