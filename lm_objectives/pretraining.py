"""The LightningModule: one backbone, objectives, a balancer, and their total."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Literal, Optional

import lightning.pytorch as L
import torch
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torchmetrics import MeanMetric

from lm_objectives.backbone import Backbone
from lm_objectives.balancers.base import Balancer, StepTotals
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.keyed import domain
from lm_objectives.data.rows import LAG, Batch, Decisions, Source, check_sources
from lm_objectives.data.tokenizer import read_tokenizer_files
from lm_objectives.gradients import GradientStore, gradient_norm
from lm_objectives.objectives.base import Objective, Outcome
from lm_objectives.optimisation import Schedule, parameter_groups
from lm_objectives.plugin import describe, rebuild

log = logging.getLogger("lm_objectives")


class NonFiniteError(RuntimeError):
    """A loss or gradient was not finite, and the module was told to stop there."""


class Pretraining(L.LightningModule):
    """One backbone that learns several objectives at once.

    The total is w1·L1 + w2·L2 + …, each loss in nats per scored position over the whole optimizer step: all ranks, all
    accumulated micro-batches. Weights are the balancer's.

    Args:
        backbone: the shared model.
        objectives: what it learns, by names of your choice.
        balancer: decides the weights; all 1 by default.
        optimizer: any torch optimizer; AdamW with a learning rate of 0.001 and weight decay 0.1 by default. Norms and
            biases are not decayed.
        schedule: warmup and decay of the learning rate.
        on_nonfinite: what a step does in which a loss or a gradient is infinite or NaN: skip leaves weights, optimizer
            and balancer as they are; stop ends the training with an error.
    """

    def __init__(
        self,
        backbone: Backbone,
        objectives: dict[str, Objective],
        balancer: Optional[Balancer] = None,  # noqa: UP045 (jsonargparse shows it so)
        optimizer: Optional[OptimizerCallable] = None,  # noqa: UP045
        schedule: Schedule = Schedule(),  # noqa: B008 (frozen)
        on_nonfinite: Literal["skip", "stop"] = "skip",
    ) -> None:
        super().__init__()
        self.backbone: Backbone = rebuild(backbone)
        objectives = rebuild(objectives)
        if not objectives:
            raise ValueError(
                "expected at least one objective in model.objectives, found none: add one, for example causal: CausalLM"
            )
        for name in objectives:
            if not name.isidentifier():
                raise ValueError(f"expected objectives' names of letters, digits and _, found {name!r}: rename it")
        self.objectives = nn.ModuleDict(objectives)
        self.balancer: Balancer = rebuild(balancer) if balancer is not None else Fixed()
        self.optimizer, self.on_nonfinite = optimizer, on_nonfinite
        self.schedule = Schedule(**schedule) if isinstance(schedule, dict) else schedule
        self.names = tuple(objectives)
        self.sources = {name: Source(o.corruption, o.share, o.view_of) for name, o in objectives.items()}
        check_sources(self.sources)
        for name, objective in objectives.items():
            if objective.view_of and any(completes(objectives[n]) for n in (name, objective.view_of)):
                raise ValueError(
                    f"expected objectives that leave tokens alone to share a view, found {name} with view_of "
                    f"{objective.view_of}, one of which has a generator: give {name} rows of its own"
                )
        self.save_hyperparameters(
            {
                "backbone": describe(self.backbone),
                "objectives": describe(objectives),
                "balancer": describe(self.balancer),
                "schedule": dataclasses.asdict(self.schedule),
                "on_nonfinite": on_nonfinite,
            },
            logger=False,
        )
        self.decisions = Decisions()
        self.tokens_read = 0
        self.watch_every: int | None = None
        self._watched = False
        self.last_step: LastStep | None = None
        self._built = False
        self._store: GradientStore | None = None

    # Building: the vocabulary is known only when the data is, so heads are made here.

    def configure_model(self) -> None:
        """Make backbone, heads and balancer from the data module's vocabulary; from the same seed on every rank."""
        if self._built or self._trainer is None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise ValueError("expected a TextDataModule beside the module, found none: pass datamodule= to the Trainer")
        self.build(data.vocabulary, data.window, training_steps(self.trainer, data.steps_per_epoch))

    def build(self, vocabulary: Vocabulary, window: int, steps: int, device: str | None = None) -> None:
        """Make backbone, heads and balancer.

        Args:
            vocabulary: token ids of the tokenizer.
            window: tokens in a row.
            steps: optimizer steps in the whole training, -1 where nothing bounds it.
            device: where backbone and heads are made; `meta` makes shapes alone.
        """
        self.vocabulary, self.window, self.steps = vocabulary, window, steps
        self._seed = torch.initial_seed()
        with torch.random.fork_rng(), torch.device(device or torch.get_default_device()):
            torch.manual_seed(self._seed)  # whatever drew numbers before, weights depend on the seed alone
            self.backbone.build(vocabulary, window)
            for objective in self._each():
                objective.build(self.backbone, vocabulary)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        initial = torch.tensor([objective.initial_loss() for objective in self._each()], dtype=dtype)
        self.balancer.build(self.names, initial, steps)
        for step in range(LAG + 1):
            self.decisions.append(step, self._active(step))
        self.metrics = nn.ModuleDict(
            {
                name: nn.ModuleDict({**{part: MeanMetric() for part in objective.parts}, **objective.metrics()})
                for name, objective in self._items()
            }
        )
        self._dropout = any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.modules()) or bool(
            getattr(self.backbone.config, "attention_dropout", 0)
        )
        # Balancers agree on all ranks by construction; a broadcast would only hide it if one did not.
        self._ddp_params_and_buffers_to_ignore = [f"balancer.{name}" for name, _ in self.balancer.named_buffers()]
        if self.balancer.needs == "last_layer":
            log.info("last shared layer: %s", ", ".join(self._last_layer()))
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

    def on_train_start(self) -> None:
        self._begin_step()

    def _begin_step(self) -> None:
        step = self.trainer.global_step
        dtype = torch.promote_types(self.backbone.embedding.dtype, torch.float32)
        self._measured = torch.zeros(len(self.names), device=self.device, dtype=dtype)
        self._tokens = 0
        self._micro = 0
        self._weights = self.balancer.weights(step).to(self.device)
        self._watched = self.watch_every is not None and step % self.watch_every == 0
        needs = self.balancer.needs if self.balancer.needs != "losses" else "last_layer" if self._watched else "losses"
        if needs == "losses":
            self._store = None
            return
        chosen = self._last_layer() if needs == "last_layer" else self._shared()
        if self._store is None or list(self._store.parameters) != chosen:
            parameters = dict(self.backbone.model.named_parameters())
            self._store = GradientStore({name: parameters[name] for name in chosen}, len(self.names))
        else:
            self._store.gradients.zero_()

    def _last_layer(self) -> list[str]:
        """Names of the parameters of the deepest block, or of the one that the balancer chose."""
        blocks, layer = self.backbone.blocks, getattr(self.balancer, "layer", -1)
        if not -len(blocks) <= layer < len(blocks):
            raise ValueError(
                f"expected a layer between {-len(blocks)} and {len(blocks) - 1} for the balancer, found {layer}: "
                "-1 is the last"
            )
        chosen = {id(parameter) for parameter in blocks[layer].parameters()}
        return [name for name, p in self.backbone.model.named_parameters() if id(p) in chosen]

    def _shared(self) -> list[str]:
        """Names of all the backbone's parameters, those of its blocks first."""
        inner = {id(parameter) for parameter in self.backbone.blocks.parameters()}
        names = [(id(p) not in inner, name) for name, p in self.backbone.model.named_parameters() if p.requires_grad]
        return [name for _, name in sorted(names, key=lambda pair: pair[0])]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        del batch_idx
        if self._dropout:
            word = domain(self._seed, self.trainer.global_step, self._micro, self.global_rank)
            torch.manual_seed(int(word) >> 1)
        losses = self._losses(batch)
        measured = torch.stack([losses.get(name, self._measured.new_zeros(())) for name in self.names])
        self._measured += measured.detach()
        self._tokens += batch.tokens
        self._micro += 1
        self._present = [name in batch.totals for name in self.names]
        if self.balancer.deferred:
            total = measured.sum()
        else:
            total = (self._weights.to(measured.dtype) * measured).sum()
        # Lightning divides by the micro-batches and DDP by the ranks; the counts are those of the whole step already.
        total = total * (self.trainer.accumulate_grad_batches * self.trainer.world_size)
        return total + sum(_zero(objective) for name, objective in self._items() if name not in batch.views)

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """This micro-batch's part of each objective's loss, in nats per scored position of the whole step."""
        outcomes = self.outcomes(batch.views, self._store)
        return {
            name: sum(
                factor * outcomes[name].sums[part] / batch.totals[name][part]
                for part, factor in self.objectives[name].parts.items()
            )
            for name in batch.views
        }

    def outcomes(self, views: Mapping[str, View], store: GradientStore | None = None) -> dict[str, Outcome]:
        """Score views; in as few passes of the backbone as may be, or in one for each objective for the store."""
        outcomes = {}
        embedding_name = next(n for n, p in self.backbone.model.named_parameters() if p is self.backbone.embedding)
        if store is not None:
            for index, (name, objective) in enumerate(self._items()):
                if name in views:
                    aliases = store.aliases(index)
                    embedding = aliases.get(embedding_name, self.backbone.embedding)
                    view = objective.complete(views[name], embedding)
                    [hidden] = self.backbone.encode([view], aliases)
                    outcomes[name] = objective.score(hidden, view, embedding)
            return outcomes
        embedding = self.backbone.embedding
        completed = {name: self.objectives[name].complete(view, embedding) for name, view in views.items()}
        for names in self._passes(completed):
            read = {id(completed[name].ids): completed[name] for name in names}
            hidden = dict(zip(read, self.backbone.encode(list(read.values())), strict=True))
            for name in names:
                view = completed[name]
                outcomes[name] = self.objectives[name].score(hidden[id(view.ids)], view, embedding)
        return outcomes

    def _passes(self, views: Mapping[str, View]) -> list[list[str]]:
        """Objectives by the pass that they share: all on a CPU, where calls cost more than a mask; else by pattern."""
        if self.device.type == "cpu" and not self.backbone.windowed:
            return [list(views)]
        patterns: dict[str, list[str]] = {}
        for name, view in views.items():
            patterns.setdefault(view.attention, []).append(name)
        return list(patterns.values())

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """The step is whole: sum it over the ranks, let the balancer learn, and drop it where it is not finite."""
        del optimizer
        step, world = self.trainer.global_step, self.trainer.world_size
        # One vector for all ranks: losses, then the tokens read.
        totals = torch.cat([self._measured, self._measured.new_tensor([self._tokens])])
        gradients = None if self._store is None else self._store.gradients
        if world > 1:
            totals = self.trainer.strategy.reduce(totals, reduce_op="sum")
        if gradients is not None:
            gradients /= world * self._loss_scale()
            if world > 1:
                gradients = self._store.gradients = self.trainer.strategy.reduce(gradients, reduce_op="sum")
        losses = totals[:-1]
        parameters = list(self.parameters())
        norm = gradient_norm(parameters)
        finite = bool(losses.isfinite().all() & norm.isfinite())
        weights = self._weights.to(losses.device)
        present = torch.tensor(self._present, device=losses.device) & (weights > 0)
        told = StepTotals(step, losses, present, self._for_balancer())
        if finite:
            chosen = self.balancer.update(told)
            if chosen is not None:
                weights = chosen
                self._write(chosen)
                norm = gradient_norm(parameters)
        else:
            self._drop(losses, step)
        self.decisions.append(step + 1 + LAG, self._active(step + 1 + LAG))
        self.tokens_read += int(totals[-1])
        seen = self._unweighted(self._last_layer()).clone() if self._watched else None
        self.last_step = LastStep(step, losses, weights, norm, finite, self._present, seen)
        self._log(self.last_step)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        del outputs, batch, batch_idx
        if self._micro == self.trainer.accumulate_grad_batches:
            self._begin_step()

    def _for_balancer(self) -> Tensor | None:
        if self.balancer.needs == "losses" or self._store is None:
            return None
        inner = {id(parameter) for parameter in self.backbone.blocks.parameters()}
        return self._unweighted([name for name, p in self._store.parameters.items() if id(p) in inner])

    def _unweighted(self, names: list[str]) -> Tensor:
        """Each objective's gradient of its own loss over the parameters `names`; 0 where its weight is."""
        assert self._store is not None
        gradients = self._store.of(names)
        if self.balancer.deferred:  # its total was taken with weights of 1
            return gradients
        weights = self._weights.to(gradients)[:, None]
        return torch.where(weights > 0, gradients / weights.clamp_min(1e-38), 0)

    def _write(self, weights: Float[Tensor, " objectives"]) -> None:
        """Make the gradients those of the weighted total: shared parameters from the store, heads by their weight."""
        assert self._store is not None
        self._store.write(weights)
        for weight, objective in zip(weights, self._each(), strict=True):
            for parameter in objective.parameters():
                if parameter.grad is not None:
                    parameter.grad *= weight.to(parameter.grad.dtype)

    def _loss_scale(self) -> float:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler.get_scale() if scaler is not None else 1.0

    def _drop(self, losses: Tensor, step: int) -> None:
        """Leave everything as it was before this step, or stop."""
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        expected = scaled and bool(losses.isfinite().all())  # a gradient scaler finds its scale by overflowing
        if self.on_nonfinite == "stop" and not expected:
            bad = [name for name, loss in zip(self.names, losses.tolist(), strict=True) if loss - loss != 0]
            raise NonFiniteError(
                f"expected finite losses and gradients, found {', '.join(bad) or 'a gradient'} not finite at step "
                f"{step}: lower the learning rate, or set model.on_nonfinite to skip"
            )
        for parameter in self.parameters():
            parameter.grad = None

    def _log(self, last: "LastStep") -> None:
        if (last.step + 1) % self.trainer.log_every_n_steps:
            return
        rows = self.trainer.datamodule.plan.rows(last.step)  # type: ignore[attr-defined]
        values: dict[str, float] = {}
        losses, weights = last.losses.tolist(), last.weights.tolist()
        for name, loss, weight, present in zip(self.names, losses, weights, last.present, strict=True):
            count = rows.get(self.sources[name].view_of or name, 0) if present else 0
            values[f"train/{name}/weight"] = weight
            values[f"train/{name}/rows"] = float(count)
            values[f"train/{name}/share"] = count / self.trainer.datamodule.rows_per_step  # type: ignore[attr-defined]
            if present:
                values[f"train/{name}/loss"] = loss
                values[f"train/{name}/weighted_loss"] = weight * loss
        values["train/loss"] = sum(w * x for w, x in zip(weights, losses, strict=True))
        values["train/gradient_norm"] = float(last.norm)
        values["train/tokens"] = float(self.tokens_read)
        values["train/skipped"] = float(not last.finite)
        values["train/learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(values, batch_size=1, rank_zero_only=True)

    # Held-out rows.

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        del batch_idx
        for name, outcome in self.outcomes(batch.views).items():
            metrics: Any = self.metrics[name]
            for part, total in outcome.sums.items():
                count = batch.views[name].counts[part]
                metrics[part].update(total / max(count, 1), weight=count)
            for metric, arguments in outcome.observed.items():
                metrics[metric].update(*arguments)

    def on_validation_epoch_end(self) -> None:
        values: dict[str, float] = {}
        for name, objective in self._items():
            metrics: Any = self.metrics[name]
            own = {key: float(metric.compute()) for key, metric in metrics.items() if metric.update_called}
            for metric in metrics.values():
                metric.reset()
            own["loss"] = sum(factor * own[part] for part, factor in objective.parts.items())
            values |= {f"val/{name}/{key}": value for key, value in own.items()}
        self.log_dict(values, batch_size=1)

    # Optimizer and checkpoints.

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, self.vocabulary.size)
        optimizer = self.optimizer(groups) if self.optimizer else AdamW(groups, lr=1e-3, weight_decay=0.1)
        scheduler = self.schedule.lr_scheduler(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        vocabulary = dataclasses.asdict(self.vocabulary) | {"unigram": None, "special": list(self.vocabulary.special)}
        checkpoint["lm_objectives"] = {
            "vocabulary": vocabulary,
            "window": self.window,
            "steps": self.steps,
            "seed": self._seed,
            "tokens_read": self.tokens_read,
            "decisions": [[step, list(names)] for step, names in self.decisions.entries],
        }
        text = getattr(getattr(self._trainer, "datamodule", None), "text", None)
        if text is not None:  # for `demo` and `export`, which have no data module
            checkpoint["lm_objectives"]["tokenizer"] = read_tokenizer_files(text.folder / "tokenizer")
            checkpoint["lm_objectives"]["cache"] = str(text.folder)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("lm_objectives")
        if saved is None:
            raise ValueError("expected a checkpoint of this package, found another one: check the path")
        if not self._built:
            ids = saved["vocabulary"] | {"special": tuple(saved["vocabulary"]["special"])}
            self.build(Vocabulary(**ids), saved["window"], saved["steps"])
        self.check_same(checkpoint["state_dict"])
        self._seed, self.tokens_read = saved["seed"], saved["tokens_read"]
        self.decisions.entries = Decisions((step, tuple(names)) for step, names in saved["decisions"]).entries

    def check_same(self, state: Mapping[str, Tensor]) -> None:
        """Raise where a checkpoint's state is of another model."""
        own = self.state_dict()
        for name in [*own, *state]:
            here, there = (
                tuple(getattr(where[name], "shape", ())) if name in where else "nothing"  # extra state is no tensor
                for where in (own, state)
            )
            if here != there:
                raise ValueError(
                    f"expected a checkpoint of this model, found one of another: {name} is {here} in the model and "
                    f"{there} in the checkpoint; give the configuration that the checkpoint was trained with"
                )


@dataclasses.dataclass(frozen=True)
class LastStep:
    """What the last optimizer step measured, for callbacks.

    Attributes:
        step: its number, from 0.
        losses: nats per scored position of each objective; 0 where it had no rows.
        weights: the weights it was taken with.
        norm: norm of the gradient of the weighted total, before clipping.
        finite: whether it was taken; else it was dropped whole.
        present: which objectives had rows.
        gradients: where the step was watched, a row for each objective: the gradient of its unweighted loss on the last
            shared layer; 0 where it had no rows or weight. Else `None`.
    """

    step: int
    losses: Tensor
    weights: Tensor
    norm: Tensor
    finite: bool
    present: list[bool]
    gradients: Tensor | None


def training_steps(trainer: L.Trainer, steps_per_epoch: int) -> int:
    """Optimizer steps in the whole training, -1 where nothing bounds it."""
    bounds = []
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        bounds.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        accumulate, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
        if isinstance(limit, float):
            steps_per_epoch = int(steps_per_epoch * accumulate * limit) // accumulate
        elif limit is not None:
            steps_per_epoch = min(steps_per_epoch, limit // accumulate)
        bounds.append(trainer.max_epochs * steps_per_epoch)
    return min(bounds, default=-1)


def completes(objective: Objective) -> bool:
    """Whether a model takes part in making an objective's view."""
    return type(objective).complete is not Objective.complete


def _zero(objective: Objective) -> Tensor | float:
    """0 that depends on all parameters of an objective without rows, as DDP expects of every parameter."""
    return sum((0 * parameter.sum() for parameter in objective.parameters()), start=0.0)
