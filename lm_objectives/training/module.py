"""The LightningModule: one backbone, objectives, a balancer, and their total."""

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Optional

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.datamodule import training_steps
from lm_objectives.data.dataset import Batch
from lm_objectives.data.plan import ACTIVITY_DELAY, ActivityLog, ObjectiveRows, check_row_sharing, row_owner
from lm_objectives.data.tokenizer import read_tokenizer_files
from lm_objectives.errors import InputError
from lm_objectives.objectives.base import LossOutput, Objective, baseline_metrics, combine_losses, load_pretrained_heads
from lm_objectives.objectives.metrics import Mean
from lm_objectives.optim import LRSchedule, OptimizerFactory, parameter_groups
from lm_objectives.plugin import from_config, to_config
from lm_objectives.training.checkpoint import KEY, check_same_shapes
from lm_objectives.training.forward import forward_merged, forward_separate, forward_split_layer
from lm_objectives.training.gradients import GradientStore, gradient_norm
from lm_objectives.training.resume import PendingWork, align_loops, resume_logging, save_pending
from lm_objectives.training.step import StepAccumulator, StepMetrics
from lm_objectives.views import View, Vocabulary

log = logging.getLogger("lm_objectives")


class NonFiniteError(RuntimeError):
    """A loss or gradient was not finite, and the module was told to stop there."""


class Pretraining(L.LightningModule):
    """One backbone that learns several objectives at once.

    The total is w1·L1 + w2·L2 + …, each loss in nats per scored position over the whole optimizer step: all ranks, all
    accumulated micro-batches. Weights are the balancer's.

    Objectives go by their names, sorted, in every vector, in the optimizer and in checkpoints: in which order they are
    given means nothing, to a run that goes on neither.

    Args:
        backbone: the shared model.
        objectives: what it learns, by names of your choice.
        balancer: decides the weights; all 1 by default.
        optimizer: AdamW, Adam, SGD, Adafactor, Muon or any other of torch; by default AdamW with a learning rate of
            0.001 and weight decay 0.1. Norms and biases are not decayed.
        schedule: warmup and decay of the learning rate.
        on_nonfinite: what a step does in which a loss or a gradient is infinite or NaN: skip leaves weights, optimizer
            and balancer as they are; stop ends the training with an error.
    """

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
        self.backbone: Backbone = from_config(backbone)
        objectives = dict(sorted(from_config(objectives).items()))
        if not objectives:
            raise InputError(
                "expected at least one objective in model.objectives, found none: add one, for example causal: CausalLM"
            )
        for name in objectives:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise InputError(f"expected objectives' names that Python has no use for, found {name!r}: rename it")
        self.objectives = nn.ModuleDict(objectives)
        self.balancer: Balancer = from_config(balancer) if balancer is not None else Fixed()
        self.optimizer, self.on_nonfinite = optimizer, on_nonfinite
        self.lr_schedule = LRSchedule(**lr_schedule) if isinstance(lr_schedule, dict) else lr_schedule
        self.names = tuple(objectives)
        self.sources = {
            name: ObjectiveRows(o.corruption, o.share, o.shares_rows_with) for name, o in objectives.items()
        }
        check_row_sharing(self.sources)
        for name, objective in objectives.items():
            if objective.shares_rows_with and any(
                has_generator(objectives[n]) for n in (name, objective.shares_rows_with)
            ):
                raise InputError(
                    f"expected objectives that leave tokens alone to share a view, found {name} with shares_rows_with "
                    f"{objective.shares_rows_with}, one of which has a generator: give {name} rows of its own"
                )
        self.save_hyperparameters(
            {
                "backbone": to_config(self.backbone),
                "objectives": to_config(objectives),
                "balancer": to_config(self.balancer),
                "lr_schedule": dataclasses.asdict(self.lr_schedule),
                "on_nonfinite": on_nonfinite,
            },
            logger=False,
        )
        self.activity = ActivityLog()
        self.tokens_read = self.steps_skipped = 0
        self.watch_every: int | None = None
        self._watched = False
        self._seen: dict[str, Tensor] = {}
        self.last_step: StepMetrics | None = None
        self._built = False
        self._store: GradientStore | None = None

    # Building: the vocabulary is known only when the data is, so heads are made here.

    def configure_model(self) -> None:
        """Make backbone, heads and balancer from the data module's vocabulary; from the same seed on every rank."""
        if self._built or self._trainer is None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise InputError("expected a TextDataModule beside the module, found none: pass datamodule= to the Trainer")
        with torch.device("cpu"):  # the Trainer's device would draw other numbers; it moves the module itself
            steps = training_steps(self.trainer, data.steps_per_epoch)
            self.build(data.vocabulary, data.seq_len, steps, target_counts=data.target_counts())
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
            window: tokens in a row.
            steps: optimizer steps in the whole training, -1 where nothing bounds it.
            device: where backbone and heads are made; `meta` makes shapes alone.
            target_counts: how often each target is right in training rows, by objective, for those that have baselines.
        """
        self.vocabulary, self.seq_len, self.steps = vocabulary, seq_len, steps
        self._seed = torch.initial_seed()
        with torch.random.fork_rng(devices=[]), torch.device(device or torch.get_default_device()):
            torch.default_generator.manual_seed(self._seed)  # whatever drew before, weights depend on the seed alone
            self.backbone.setup(vocabulary, seq_len, {name: source.corruption for name, source in self.sources.items()})
            for name, objective in self._items():  # a head's weights depend on its name, not on others' heads
                objective.target_counts = target_counts.get(name)
                torch.default_generator.manual_seed(int(derive_seed(self._seed, "head", name)) >> 1)
                objective.setup(self.backbone, vocabulary)
            if self.backbone.pretrained_weights is not None:
                load_pretrained_heads(self.backbone, dict(self._items()))
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        initial = torch.tensor([objective.initial_loss() for objective in self._each()], dtype=dtype)
        self.balancer.setup(self.names, initial, steps)
        for step in range(ACTIVITY_DELAY + 1):
            self.activity.append(step, self._active(step))
        self.metrics = nn.ModuleDict(
            {
                name: nn.ModuleDict({**{part: Mean() for part in objective.loss_weights}, **objective.metrics()})
                for name, objective in self._items()
            }
        )
        self.baselines = nn.ModuleDict({name: nn.ModuleDict(baseline_metrics(o)) for name, o in self._items()})
        # Balancers agree on all ranks by construction; a broadcast would only hide it if one did not.
        self._ddp_params_and_buffers_to_ignore = [f"balancer.{name}" for name, _ in self.balancer.named_buffers()]
        if self.balancer.needs == "last_layer":
            log.info("last shared layer: %s", self.backbone.layer_name(self._block))
        self._built = True

    def _items(self) -> list[tuple[str, Objective]]:
        return [(name, self.objectives[name]) for name in self.names]  # type: ignore[misc]

    def _each(self) -> list[Objective]:
        return [objective for _, objective in self._items()]

    def _active(self, step: int) -> tuple[str, ...]:
        """Who reads rows at `step`, as far as the balancer knows."""
        if type(self.balancer).active is Balancer.active:
            return self.names
        active = self.balancer.active(step).tolist()
        return tuple(name for name, reads in zip(self.names, active, strict=True) if reads)

    # A training step.

    def on_fit_start(self) -> None:
        self.trainer.callback_metrics.update({name: number.to(self.device) for name, number in self._seen.items()})

    def on_train_start(self) -> None:
        self._begin_step()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        del batch, batch_idx
        # The step that rows of numbers get; Lightning counts one too many after it went on from some checkpoints.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def _begin_step(self) -> None:
        step = self.trainer.global_step
        self._watched = self.watch_every is not None and step % self.watch_every == 0
        needs = self.balancer.needs
        if needs == "losses" and self._watched:
            needs = "last_layer"
        self._store = self._empty_store(needs)
        dtype = torch.promote_types(self.backbone.embedding.dtype, torch.float32)
        weights = self.weights(step).to(self.device).clone()  # state may be moved in place
        self._step = StepAccumulator(self.names, weights, self._store, self.balancer.deferred, dtype)

    def weights(self, step: int) -> Tensor:
        """The balancer's weights of a step, one for each objective, `(objectives,)`."""
        weights = self.balancer.weights(step)
        if weights.shape != (len(self.names),):
            raise InputError(
                f"expected a weight for each of {', '.join(self.names)} from {type(self.balancer).__name__}.weights, "
                f"found shape {tuple(weights.shape)}: return {len(self.names)} numbers"
            )
        return weights

    def _empty_store(self, needs: str) -> GradientStore | None:
        """Where per-objective gradients are collected, the one of the step before if it will do."""
        if needs == "losses":
            return None
        chosen = self._last_layer() if needs == "last_layer" else self.backbone.shared_parameters()
        if self._store is not None and list(self._store.parameters) == chosen:
            self._store.gradients.zero_()
            return self._store
        parameters = dict(self.backbone.model.named_parameters())
        return GradientStore({name: parameters[name] for name in chosen}, len(self.names))

    @property
    def _block(self) -> int:
        """Number of the last shared block, or of the one that the balancer chose."""
        return self.balancer.layer

    def _last_layer(self) -> list[str]:
        return self.backbone.layer_parameters(self._block)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        del batch_idx
        word = derive_seed(self._seed, self.trainer.global_step, self._step.micro_batches, self.global_rank)
        torch.manual_seed(int(word) >> 1)  # for dropout: a resumed run draws what the whole one would have
        objectives = dict(self._items())
        outcomes = self.forward_views(batch.views, self._store)
        losses = {
            name: combine_losses(objectives[name].loss_weights, outcome.loss_sums, batch.totals[name])
            for name, outcome in outcomes.items()
        }
        total = self._step.add(losses, batch.totals, batch.tokens)
        # Lightning divides by the micro-batches and DDP by the ranks; the counts are those of the whole step already.
        total = total * (self.trainer.accumulate_grad_batches * self.trainer.world_size)
        idle = [p for name, objective in self._items() if name not in batch.views for p in objective.parameters()]
        return total + _zero([*idle, *self.backbone.unused_parameters(batch.views.values())])

    def forward_views(self, views: Mapping[str, View], store: GradientStore | None = None) -> dict[str, LossOutput]:
        """Score views, in as few passes of the backbone as may be, or in one for each where a store watches."""
        objectives = dict(self._items())
        if store is None:
            return forward_merged(self.backbone, objectives, views)
        if self.balancer.needs == "all_layers":
            return forward_separate(self.backbone, objectives, views, store)
        return forward_split_layer(self.backbone, objectives, views, store, self._block)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """The step is whole: the balancer learns from it, or it is dropped where it is not finite."""
        del optimizer
        step, whole = self.trainer.global_step, self._step
        if whole.micro_batches != self.trainer.accumulate_grad_batches:
            raise RuntimeError(
                f"an optimizer step of {whole.micro_batches} micro-batches where its counts are of "
                f"{self.trainer.accumulate_grad_batches}"
            )
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = scaler.get_scale() if scaler is not None and self._store is not None else 1.0
        whole.reduce(self.trainer.world_size, partial(self.trainer.strategy.reduce, reduce_op="sum"), scale)
        parameters = list(self.parameters())
        norm = gradient_norm(parameters)
        finite = whole.is_finite(norm)
        if finite:
            norm = self._balance(step, norm)
        else:
            self._drop(step, scaler is not None and scaler.get_scale() > 1)
        self.activity.append(step + 1 + ACTIVITY_DELAY, self._active(step + 1 + ACTIVITY_DELAY))
        self.tokens_read += whole.tokens
        seen = whole.unweighted_gradients(self._last_layer()).clone() if self._watched else None
        self.last_step = StepMetrics(step, whole.losses, whole.weights, norm, finite, whole.has_rows, seen)
        self._log(self.last_step)

    def _balance(self, step: int, norm: Tensor) -> Tensor:
        """Let the balancer learn; returns the norm of the total's gradient, which it may have changed."""
        whole, blocks = self._step, None
        if self.balancer.needs != "losses":
            assert self._store is not None
            blocks = whole.unweighted_gradients(self.backbone.within_layers(self._store.parameters))
        weights = self.balancer.update(StepStatistics(step, whole.losses, whole.trained(), blocks))
        if weights is None:
            return norm
        whole.apply_weights(weights, self._each())
        return gradient_norm(self.parameters())

    def _drop(self, step: int, scaled: bool) -> None:
        """Leave everything as it was before this step, or stop."""
        losses = self._step.losses
        expected = scaled and bool(losses.isfinite().all())  # a gradient scaler finds its scale by overflowing
        if self.on_nonfinite == "stop" and not expected:
            bad = [name for name, loss in zip(self.names, losses.tolist(), strict=True) if not math.isfinite(loss)]
            raise NonFiniteError(
                f"expected finite losses and gradients, found {', '.join(bad) or 'a gradient'} not finite at step "
                f"{step}: lower the learning rate, or set model.on_nonfinite to skip"
            )
        if not expected and not self.steps_skipped:
            log.warning("step %d is skipped: a loss or a gradient is not finite (train/skipped counts them)", step)
        self.steps_skipped += 1
        for parameter in self.parameters():
            parameter.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        del outputs, batch, batch_idx
        if self._step.micro_batches == self.trainer.accumulate_grad_batches:
            self._begin_step()

    def _log(self, record: StepMetrics) -> None:
        if (record.step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = data.plan.rows(record.step)
        values: dict[str, float] = {}
        losses, weights = record.losses.tolist(), record.weights.tolist()
        for name, loss, weight, present in zip(self.names, losses, weights, record.has_rows, strict=True):
            count = rows.get(row_owner(name, self.sources), 0) if present else 0
            values[f"train/{name}/weight"] = weight
            values[f"train/{name}/rows"] = float(count)
            values[f"train/{name}/share"] = count / data.global_batch_size
            if present:
                values[f"train/{name}/loss"] = loss
                values[f"train/{name}/weighted_loss"] = weight * loss
        values["train/loss"] = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        values["train/gradient_norm"] = float(record.norm)
        values["train/tokens"] = float(self.tokens_read)
        values["train/skipped"] = float(self.steps_skipped)
        values["train/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(values, batch_size=1, rank_zero_only=True)

    # Held-out rows.

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        del batch_idx
        for name, outcome in self.forward_views(batch.views).items():
            metrics: Any = self.metrics[name]
            for part, total in outcome.loss_sums.items():
                count = batch.views[name].counts[part]
                metrics[part].update(total / max(count, 1), weight=count)
            for metric, arguments in outcome.metric_inputs.items():
                metrics[metric].update(*arguments)
            baselines: Any = self.baselines[name]
            for baseline in baselines.values():
                baseline.update(batch.views[name].targets)

    def on_validation_epoch_end(self) -> None:
        values: dict[str, float] = {}
        for name, objective in self._items():
            metrics: dict[str, Any] = {**self.metrics[name], **self.baselines[name]}  # type: ignore[dict-item]
            read = any(metric.update_called for metric in metrics.values())  # not so in a pass that was cut short
            if self.trainer.strategy.reduce_boolean_decision(read, all=False):  # ranks without rows must take part
                own = {key: float(metric.compute()) for key, metric in metrics.items()}
                own["loss"] = sum(factor * own[part] for part, factor in objective.loss_weights.items())
                values |= {f"val/{name}/{key}": value for key, value in own.items()}
            for metric in metrics.values():
                metric.reset()
        self.log_dict(values, batch_size=1)

    # Optimizer and checkpoints.

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, self.vocabulary.size)
        optimizer = self.optimizer(groups) if self.optimizer else AdamW(groups, lr=1e-3, weight_decay=0.1)
        scheduler = self.lr_schedule.lr_scheduler(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {
            "backbone": self.backbone.architecture(),
            "vocabulary": self.vocabulary.to_dict(),
            "seq_len": self.seq_len,
            "steps": self.steps,
            "seed": self._seed,
            "tokens_read": self.tokens_read,
            "steps_skipped": self.steps_skipped,
            "accumulate": 1 if self._trainer is None else self.trainer.accumulate_grad_batches,
            "target_counts": {n: o.target_counts for n, o in self._items() if o.target_counts is not None},
            "activity": [[step, list(names)] for step, names in self.activity.entries],
            "unfinished": None if self._trainer is None else save_pending(self.trainer),
        }
        data = getattr(self._trainer, "datamodule", None)
        if data is not None:  # for `demo` and `export`, which have no data module, and to know another corpus
            checkpoint[KEY]["tokenizer"] = read_tokenizer_files(data.text.folder / "tokenizer")
            checkpoint[KEY]["cache"] = str(data.text.folder)
            checkpoint[KEY]["rows"] = data.identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get(KEY)
        if saved is None:
            raise InputError("expected a checkpoint of this package, found another one: check the path")
        if not self._built:
            self.backbone.load_architecture(saved["backbone"])
            vocabulary, counts = Vocabulary.from_dict(saved["vocabulary"]), saved["target_counts"]
            self.build(vocabulary, saved["seq_len"], saved["steps"], target_counts=counts)
        check_same_shapes(self.state_dict(), checkpoint["state_dict"])
        if self._trainer is not None and self.trainer.training and saved["unfinished"] is not None:
            unfinished, accumulate = PendingWork(**saved["unfinished"]), self.trainer.accumulate_grad_batches
            align_loops(checkpoint["loops"], saved["accumulate"], accumulate, unfinished.validates)
            resume_logging(self.trainer, unfinished, checkpoint["global_step"])
            self._seen = unfinished.seen
        self._seed, self.tokens_read = saved["seed"], saved["tokens_read"]
        self.steps_skipped = saved["steps_skipped"]
        self.activity.entries = ActivityLog((step, tuple(names)) for step, names in saved["activity"]).entries


def has_generator(objective: Objective) -> bool:
    """Whether a model takes part in making an objective's view."""
    return type(objective).fill_in is not Objective.fill_in


def _zero(parameters: Iterable[nn.Parameter]) -> Tensor | float:
    """0 that depends on parameters that no row of a micro-batch reaches, as DDP expects of every parameter."""
    return sum((0 * parameter.sum() for parameter in parameters), start=0.0)
