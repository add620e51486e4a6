"""Make a module's optimizer and its learning rate schedule."""

from typing import Any

from lightning.pytorch.callbacks import LearningRateFinder

from lm_objectives.errors import expect
from lm_objectives.optim import parameter_groups
from lm_objectives.optim.factory import make_optimizer


def configure_optimizer(module: Any) -> dict[str, Any]:
    """The optimizer of a built `Pretraining` and its schedule, as Lightning's `configure_optimizers` returns them.

    Raises:
        InputError: for an optimizer of several rates where `module.lr` sets one, or a finder looks for one.
    """
    optimizer = make_optimizer(module.optimizer, parameter_groups(module, module.vocabulary.size))
    callbacks = [] if module._trainer is None else module.trainer.callbacks
    if module.lr is not None or any(isinstance(callback, LearningRateFinder) for callback in callbacks):
        rates = sorted({float(group["lr"]) for group in optimizer.param_groups})
        mend = "set each in the optimizer, and neither module.lr nor a LearningRateFinder"
        expected = "an optimizer of one learning rate to find, or to set by module.lr"
        expect(len(rates) == 1, expected, " and ".join(map(str, rates)), mend)
    if module.lr is not None:
        for group in optimizer.param_groups:
            group["lr"] = module.lr
    scheduler = module.lr_schedule.lr_scheduler(optimizer, module.steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
