"""Make a module of a checkpoint, and restore what it holds besides weights."""

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.callbacks import LearningRateFinder

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.balancers.base import Balancer
from lm_objectives.data.plan import ActivityLog
from lm_objectives.errors import InputError, expect, one_line
from lm_objectives.objectives.base import Objective
from lm_objectives.optim import LRSchedule
from lm_objectives.optim.factory import factory_from_config
from lm_objectives.plugin import from_config
from lm_objectives.training.checkpoint import SavedState, check_same_shapes
from lm_objectives.training.experiment import check_backbone, check_experiment, check_tokenizer, describe_experiment
from lm_objectives.training.resume import resume_trainer
from lm_objectives.training.validation import ValidationMetrics


@contextmanager
def made_from(key: str, path: Any = "") -> Iterator[None]:
    """Turn what a model raises that is made of a checkpoint into one line, which names the key that it is made of."""
    where = f"{key} in the checkpoint{f' at {path}' if path else ''}"
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        raise InputError(
            f"expected {where} that a model can be made of, found another ({one_line(error)}): use one as it was "
            "written, with classes of yours as they were then"
        ) from error


def make_parts(checkpoint: Mapping[str, Any], path: Any = "", given: Container[str] = ()) -> dict[str, Any]:
    """What a checkpoint's hyperparameters make a `Pretraining` module of: plug-ins, optimizer and schedule.

    Args:
        checkpoint: as it was read.
        path: its file, for the message.
        given: names of those that the caller has, which are not made.

    Raises:
        InputError: where they cannot be made, or are of modules that are not imported (see `plugin.from_config`).
    """
    settings = checkpoint["hyper_parameters"]
    kinds: dict[str, type] = {"backbone": Backbone, "objectives": Objective, "balancer": Balancer}
    with made_from("hyper_parameters", path):
        parts = {name: from_config(settings[name], kind) for name, kind in kinds.items() if name not in given}
        parts |= {} if "optimizer" in given else {"optimizer": factory_from_config(settings["optimizer"])}
    return parts | {"lr_schedule": LRSchedule(**settings["lr_schedule"]), "on_nonfinite": settings["on_nonfinite"]}


def restore(module: Any, checkpoint: dict[str, Any]) -> None:
    """Build a `Pretraining` module as it was saved, or check one that its Trainer has built, and restore its state.

    Args:
        module: without a Trainer where it is loaded to be used.
        checkpoint: as Lightning loads it, which restores weights, optimizer and loops afterwards.

    Raises:
        InputError: where it is another model's, or a training would go on from it as another experiment.
    """
    trainer = module._trainer
    resumes = trainer is not None and trainer.training
    saved = SavedState.read(checkpoint, use="resume" if resumes else "module" if trainer is None else "file")
    if not module._built:
        with made_from("lm_objectives.architecture"):
            module.backbone.load_architecture(saved.architecture)
            module.build(saved.vocabulary, saved.seq_len, saved.steps, target_counts=saved.target_counts)
    elif trainer is not None:
        check_tokenizer(saved, module.tokenizer_files, module.vocabulary, trainer.ckpt_path)
    module.seed = saved.seed  # before they are compared: Python has no setting of it
    module.lr = saved.lr if module.lr is None else module.lr
    goes_on = resumes and saved.experiment is not None  # not with a learning-rate finder's own checkpoint
    if goes_on and saved.experiment is not None:
        finds = any(isinstance(callback, LearningRateFinder) for callback in trainer.callbacks)
        mend = "find the rate in a run of its own"
        expect(not finds, "no LearningRateFinder in a run that goes on", "one, which would begin it anew", mend)
        now = describe_experiment(module, trainer, trainer.datamodule, module.configure_optimizers()["optimizer"])
        check_experiment(now, saved.experiment, f"InitialWeights({str(trainer.ckpt_path)!r}) among the callbacks")
    check_backbone(module.backbone.architecture(), saved.architecture)
    check_same_shapes(module.state_dict(), checkpoint["state_dict"])
    if goes_on and saved.pending is not None:
        module._ends_epoch = resume_trainer(trainer, checkpoint, saved.pending)
        module._resumed_metrics = saved.pending.callback_metrics
    module.tokens_read, module.steps_skipped = saved.tokens_read, saved.steps_skipped
    module.recent_skips = saved.recent_skips
    module.tokenizer_files = saved.tokenizer or module.tokenizer_files
    module.activity.entries = ActivityLog(saved.activity).entries
    for name in module.names:  # baselines are those of the text that it was trained on, whatever it was built for
        module.objectives[name].target_counts = saved.target_counts.get(name)
    module.validation = ValidationMetrics(dict(module.objectives.items())).to(module.device)
