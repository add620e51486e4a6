"""The LightningModule: one backbone, several objectives, and a balancer of their losses."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Optional

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.datamodule import training_steps
from lm_objectives.data.dataset import Batch
from lm_objectives.data.plan import ACTIVITY_DELAY, ActivityLog, row_owner
from lm_objectives.data.tokenizer import read_tokenizer_files, tokenizer_from_files
from lm_objectives.errors import expect
from lm_objectives.objectives.base import LossOutput, Objective, combine_losses
from lm_objectives.optim import LRSchedule, OptimizerFactory, parameter_groups
from lm_objectives.optim.factory import DEFAULT, factory_to_config, make_optimizer
from lm_objectives.plugin import to_config
from lm_objectives.training.build import accept_configs, build_model, check_objectives
from lm_objectives.training.checkpoint import SavedState
from lm_objectives.training.experiment import describe_experiment
from lm_objectives.training.forward import forward
from lm_objectives.training.gradients import GradientStore, gradient_norm
from lm_objectives.training.restore import restore
from lm_objectives.training.step import StepAccumulator, StepMetrics
from lm_objectives.training.validation import ValidationMetrics
from lm_objectives.views import View, Vocabulary

log = logging.getLogger("lm_objectives")


class Pretraining(L.LightningModule):
    """One backbone that learns several objectives at once.

    The total is w1·L1 + w2·L2 + …, each loss in nats per scored position over the whole optimizer step: all ranks, all
    accumulated micro-batches. Weights are the balancer's.

    Objectives go by their names, sorted, in every vector, in the optimizer and in checkpoints: the order in which they
    are given changes nothing, for a resumed run either.

    Args:
        backbone: the shared model.
        objectives: what it learns, by names of your choice.
        balancer: decides the weights; all 1 by default.
        optimizer: AdamW, Adam, SGD, Adafactor, Muon or any other of torch, as a class or a `functools.partial`; by
            default AdamW with a learning rate of 0.001 and weight decay 0.1. Norms and biases are not decayed.
        lr_schedule: warmup and decay of the learning rate.
        on_nonfinite: what a step does in which a loss or a gradient is infinite or NaN: skip leaves weights, optimizer
            and balancer as they are; stop ends the training with an error.

    Attributes:
        last_step: what the last optimizer step measured; `None` before the first.

    >>> from lm_objectives import Backbone, CausalLM, GradNorm, MaskedLM, Pretraining, Vocabulary
    >>> config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    >>> module = Pretraining(Backbone("llama", config), {"masked": MaskedLM(), "causal": CausalLM()}, GradNorm())
    >>> module.names
    ('causal', 'masked')
    >>> module.build(Vocabulary(size=100, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3)), seq_len=16, steps=10)
    >>> {name: sum(p.numel() for p in objective.parameters()) for name, objective in module.objectives.items()}
    {'causal': 3200, 'masked': 1220}
    >>> module.weights(step=0).tolist()
    [1.0, 1.0]
    """

    @accept_configs
    def __init__(
        self,
        backbone: Backbone,
        objectives: dict[str, Objective],
        balancer: Optional[Balancer] = None,  # noqa: UP045 (jsonargparse shows it so)
        optimizer: Optional[OptimizerFactory] = None,  # noqa: UP045
        lr_schedule: LRSchedule = LRSchedule(),  # noqa: B008 (frozen)
        on_nonfinite: Literal["skip", "stop"] = "skip",
    ) -> None:
        super().__init__()
        self.backbone, objectives = backbone, dict(sorted(objectives.items()))
        self.objectives = nn.ModuleDict(objectives)
        self.balancer: Balancer = Fixed() if balancer is None else balancer
        self.optimizer: Any = DEFAULT if optimizer is None else optimizer
        self.lr_schedule, self.on_nonfinite = lr_schedule, on_nonfinite
        self.names, self.sources = tuple(objectives), check_objectives(objectives)
        kept = {"backbone": backbone, "objectives": objectives, "balancer": self.balancer, "on_nonfinite": on_nonfinite}
        kept |= {"optimizer": factory_to_config(self.optimizer), "lr_schedule": asdict(lr_schedule)}
        self.save_hyperparameters(to_config(kept), logger=False)
        self.activity = ActivityLog()
        self.tokens_read = self.steps_skipped = 0
        self.watch_every: int | None = None
        self._watched = self._built = False
        self._resumed_metrics: dict[str, Tensor] = {}
        self.experiment: dict[str, Any] | None = None
        self.tokenizer_files: dict[str, str] | None = None
        self.last_step: StepMetrics | None = None
        self._store: GradientStore | None = None

    # Building: the vocabulary is known only when the data is, so heads are made here.

    def configure_model(self) -> None:
        """Make backbone, heads and balancer from the data module's vocabulary; from the same seed on every rank."""
        self.experiment = None  # of another fit, from which a learning-rate finder would not go on
        if self._built or self._trainer is None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        expect(data is not None, "a TextDataModule for the module", "none", "pass datamodule= to the Trainer")
        with torch.device("cpu"):  # the Trainer's device would draw other numbers; it moves the module itself
            steps = training_steps(self.trainer, data.steps_per_epoch)
            self.build(data.vocabulary, data.seq_len, steps, target_counts=data.target_counts())
        self.tokenizer_files = read_tokenizer_files(data.text.folder / "tokenizer")
        if self.backbone.has_frozen_decoder:
            log.info("the decoder of %s does not learn: no objective has it write", self.backbone.config.model_type)

    def build(
        self,
        vocabulary: Vocabulary,
        seq_len: int,
        steps: int,
        device: str | None = None,
        target_counts: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Make backbone, heads and balancer.

        Args:
            vocabulary: token ids of the tokenizer.
            seq_len: tokens in a row.
            steps: optimizer steps in the whole training, -1 where nothing bounds it.
            device: where backbone and heads are made; `meta` makes shapes alone.
            target_counts: how often each target is right in training rows, by objective, for those that have baselines.
        """
        self.vocabulary, self.seq_len, self.steps = vocabulary, seq_len, steps
        self.seed, objectives = torch.initial_seed(), self._objectives
        with torch.device(device or torch.get_default_device()):
            build_model(self.backbone, objectives, vocabulary, seq_len, self.seed, target_counts)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        initial = torch.tensor([objective.initial_loss() for objective in objectives.values()], dtype=dtype)
        self.balancer.setup(self.names, initial, steps)
        for step in range(ACTIVITY_DELAY + 1):
            self._log_activity(step)
        self.validation = ValidationMetrics(objectives)
        # Balancers agree on all ranks by construction; a broadcast would only hide it if one did not.
        self._ddp_params_and_buffers_to_ignore = [f"balancer.{name}" for name, _ in self.balancer.named_buffers()]
        if self.balancer.needs == "last_layer":
            log.info("last shared layer: %s", self.backbone.layer_name(self.balancer.layer))
        self._built = True

    @property
    def _objectives(self) -> dict[str, Objective]:
        return {name: self.objectives[name] for name in self.names}  # type: ignore[misc]

    def _log_activity(self, step: int) -> None:
        """Note which objectives read rows from `step` on, as far as the balancer knows."""
        active = zip(self.names, self.balancer.active(step).tolist(), strict=True)
        self.activity.append(step, [name for name, reads in active if reads])

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that it is trained with; `None` before it has met data or a checkpoint."""
        return None if self.tokenizer_files is None else tokenizer_from_files(self.tokenizer_files)

    def on_fit_start(self) -> None:
        trainer: Any = self.trainer
        self.experiment = describe_experiment(self, trainer, trainer.datamodule, trainer.optimizers[0])
        trainer.callback_metrics.update({name: n.to(self.device) for name, n in self._resumed_metrics.items()})

    def on_train_start(self) -> None:
        self._begin_step()

    def on_train_batch_start(self, *_: Any) -> None:
        # The step that rows of numbers get; Lightning counts one too many after resuming from some checkpoints.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def _begin_step(self) -> None:
        step = self.trainer.global_step
        self._watched = self.watch_every is not None and step % self.watch_every == 0
        self._store = self._empty_store()
        dtype = torch.promote_types(self.backbone.embedding.dtype, torch.float32)
        weights = self.weights(step).to(self.device).clone()  # state may be moved in place
        accumulate = self.trainer.accumulate_grad_batches
        self._step = StepAccumulator(self.names, weights, self._store, self.balancer.deferred, dtype, accumulate)

    def weights(self, step: int) -> Tensor:
        """The balancer's weights of a step, one for each objective, `(objectives,)`."""
        weights = self.balancer.weights(step)
        expected = f"a weight for each of {', '.join(self.names)} from {type(self.balancer).__name__}.weights"
        mend = f"return {len(self.names)} numbers"
        expect(weights.shape == (len(self.names),), expected, f"shape {tuple(weights.shape)}", mend)
        return weights

    def _empty_store(self) -> GradientStore | None:
        """What collects per-objective gradients, if anything reads them."""
        if self.balancer.needs == "losses" and not self._watched:
            return None
        names = self.backbone.shared_parameters() if self.balancer.needs == "all_layers" else self._last_layer()
        return GradientStore.empty(self.backbone.model, names, len(self.names), self._store)

    def _last_layer(self) -> list[str]:
        return self.backbone.layer_parameters(self.balancer.layer)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        del batch_idx
        word = derive_seed(self.seed, self.trainer.global_step, self._step.micro_batches, self.global_rank)
        torch.manual_seed(int(word) >> 1)  # for dropout: a resumed run draws what the whole one would have
        objectives = self._objectives
        losses = {
            name: combine_losses(objectives[name].loss_weights, output.loss_sums, batch.totals[name])
            for name, output in self.forward_views(batch.views, self._store).items()
        }
        total = self._step.add(losses, batch.totals, batch.tokens)
        # Lightning divides by the micro-batches and DDP by the ranks; the counts are those of the whole step already.
        total = total * (self.trainer.accumulate_grad_batches * self.trainer.world_size)
        idle = [p for name, objective in objectives.items() if name not in batch.views for p in objective.parameters()]
        idle += self.backbone.unused_parameters(batch.views.values())
        return total + sum(0 * parameter.sum() for parameter in idle)  # DDP expects a gradient of every parameter

    def forward_views(self, views: Mapping[str, View], store: GradientStore | None = None) -> dict[str, LossOutput]:
        """Losses of views, in as few passes of the backbone as the gradients that a store collects allow."""
        layer = None if self.balancer.needs == "all_layers" else self.balancer.layer
        return forward(self.backbone, self._objectives, views, store, layer)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """After the last micro-batch: update the balancer, or skip the step where it is not finite."""
        del optimizer
        trainer, step, whole = self.trainer, self.trainer.global_step, self._step
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler is not None else 1.0
        whole.reduce(trainer.world_size, partial(trainer.strategy.reduce, reduce_op="sum"), scale)
        norm = gradient_norm(self.parameters())
        if finite := whole.is_finite(norm):
            norm = self._balance(step, norm)
        else:
            self._skip(step, scaler is not None and scaler.get_scale() > 1)
        self._log_activity(step + 1 + ACTIVITY_DELAY)
        self.tokens_read += whole.tokens
        watched = whole.unweighted_gradients(self._last_layer()).clone() if self._watched else None
        self.last_step = StepMetrics(step, whole.losses, whole.weights, norm, finite, whole.has_rows, watched)
        # Not a callback: these get this hook before the module does, and the next one after the learning rate moved.
        if (step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log(self.last_step)

    def _balance(self, step: int, norm: Tensor) -> Tensor:
        """Update the balancer; returns the norm of the total's gradient, which it may have changed."""
        gradients = None
        if self.balancer.needs != "losses" and self._store is not None:
            gradients = self._step.unweighted_gradients(self.backbone.within_layers(self._store.parameters))
        weights = self.balancer.update(StepStatistics(step, self._step.losses, self._step.trained(), gradients))
        if weights is None:
            return norm
        self._step.apply_weights(weights, self._objectives.values())
        return gradient_norm(self.parameters())

    def _skip(self, step: int, scaled: bool) -> None:
        """Leave everything as it was before this step, or stop."""
        expected = scaled and bool(self._step.losses.isfinite().all())  # a gradient scaler finds its scale by overflows
        if self.on_nonfinite == "stop" and not expected:
            self._step.raise_nonfinite(step)
        if not expected and not self.steps_skipped:
            log.warning("step %d is skipped: a loss or a gradient is not finite (train/skipped counts them)", step)
        self.steps_skipped += 1
        self.zero_grad()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._step.is_complete():
            self._begin_step()

    def _log(self, metrics: StepMetrics) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        read = data.plan.rows(metrics.step)
        rows = {name: read.get(row_owner(name, self.sources), 0) for name in self.names}
        values = metrics.to_log(rows, data.global_batch_size)
        values |= {"train/tokens": float(self.tokens_read), "train/skipped": float(self.steps_skipped)}
        values["train/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(values, batch_size=1, rank_zero_only=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        del batch_idx
        self.validation.update(batch.views, self.forward_views(batch.views))

    def on_validation_epoch_end(self) -> None:
        values = self.validation.compute(partial(self.trainer.strategy.reduce_boolean_decision, all=False))
        self.log_dict(values, batch_size=1)

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.optimizer, parameter_groups(self, self.vocabulary.size))
        scheduler = self.lr_schedule.lr_scheduler(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        SavedState.of(self).write(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        restore(self, checkpoint)
