"""Restore what a checkpoint holds of a module besides its weights."""

from typing import Any

from lm_objectives.data.plan import ActivityLog
from lm_objectives.training.checkpoint import SavedState, check_same_shapes
from lm_objectives.training.experiment import check_backbone, check_experiment, check_tokenizer, describe_experiment
from lm_objectives.training.resume import resume_trainer
from lm_objectives.training.validation import ValidationMetrics


def restore(module: Any, checkpoint: dict[str, Any]) -> None:
    """Build a `Pretraining` module as it was saved, or check one that its Trainer has built, and restore its state.

    Args:
        module: without a Trainer where it is loaded to be used.
        checkpoint: as Lightning loads it, which restores weights, optimizer and loops afterwards.

    Raises:
        InputError: where it is another model's, or a training would go on from it as another experiment.
    """
    saved, trainer = SavedState.read(checkpoint), module._trainer
    if not module._built:
        module.backbone.load_architecture(saved.architecture)
        module.build(saved.vocabulary, saved.seq_len, saved.steps, target_counts=saved.target_counts)
    elif trainer is not None:
        check_tokenizer(saved, module.tokenizer_files, module.vocabulary, trainer.ckpt_path)
    resumes = trainer is not None and trainer.training
    module.seed = saved.seed  # before they are compared: Python has no setting of it
    if resumes and saved.experiment is not None:
        now = describe_experiment(module, trainer, trainer.datamodule, module.configure_optimizers()["optimizer"])
        check_experiment(now, saved.experiment, f"InitialWeights({str(trainer.ckpt_path)!r}) among the callbacks")
    check_backbone(module.backbone.architecture(), saved.architecture)
    check_same_shapes(module.state_dict(), checkpoint["state_dict"])
    if resumes and saved.pending is not None:
        resume_trainer(trainer, checkpoint, saved.pending)
        module._resumed_metrics = saved.pending.callback_metrics
    module.tokens_read, module.steps_skipped = saved.tokens_read, saved.steps_skipped
    module.tokenizer_files = saved.tokenizer or module.tokenizer_files
    module.activity.entries = ActivityLog(saved.activity).entries
    for name in module.names:  # baselines are those of the text that it was trained on, whatever it was built for
        module.objectives[name].target_counts = saved.target_counts.get(name)
    module.validation = ValidationMetrics(dict(module.objectives.items())).to(module.device)
