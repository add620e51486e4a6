"""The LightningModule: one backbone, several objectives, and a balancer of their losses."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Optional

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.balancers.base import Balancer
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.corruptions.random import derive_seed
from lm_objectives.data.datamodule import TextDataModule
from lm_objectives.data.dataset import Batch
from lm_objectives.data.plan import ACTIVITY_DELAY, ActivityLog
from lm_objectives.data.tokenizer import tokenizer_from_files
from lm_objectives.data.trainer import training_steps
from lm_objectives.objectives.base import LossOutput, Objective, combine_losses
from lm_objectives.optim import LRSchedule, OptimizerFactory
from lm_objectives.optim.factory import DEFAULT, factory_to_config
from lm_objectives.plugin import import_modules, plain, to_config
from lm_objectives.training.build import (
    begins,
    build_model,
    check_data,
    check_needs,
    check_objectives,
    check_weights,
    data_of,
    training_seed,
)
from lm_objectives.training.checkpoint import SavedState, read_checkpoint
from lm_objectives.training.compiling import Compiler, compile_backbones
from lm_objectives.training.end_step import check_recent_skips, end_step, log_step
from lm_objectives.training.experiment import describe_experiment
from lm_objectives.training.forward import forward, zero_of_idle
from lm_objectives.training.gradients import GradientStore
from lm_objectives.training.optimizer import configure_optimizer
from lm_objectives.training.restore import make_parts, restore
from lm_objectives.training.resume import end_epoch
from lm_objectives.training.step import StepAccumulator, StepMetrics
from lm_objectives.training.validation import ValidationMetrics
from lm_objectives.views import View, Vocabulary

log = logging.getLogger("lm_objectives")


class Pretraining(L.LightningModule):
    """One backbone that learns several objectives at once.

    The total is w1·L1 + w2·L2 + …, each loss in nats per scored position over the whole optimizer step: all ranks, all
    accumulated micro-batches. Weights are the balancer's.

    Backbone, objectives and balancer are descriptions, of which each module makes parts of its own. A module may be
    fitted again: weights and the balancer's state stay, all that is counted over a training begins anew.

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
        lr: learning rate in place of the optimizer's own, which Lightning's `Tuner` sets; by default `None`.

    >>> from lm_objectives import Backbone, CausalLM, GradNorm, MaskedLM, Pretraining, Vocabulary
    >>> config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    >>> module = Pretraining(Backbone("llama", config), {"masked": MaskedLM(), "causal": CausalLM()}, GradNorm())
    >>> module.names
    ('causal', 'masked')
    >>> module.build(Vocabulary(size=100, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3)), seq_len=16, steps=10)
    >>> {name: sum(p.numel() for p in objective.parameters()) for name, objective in module.objectives.items()}
    {'causal': 3200, 'masked': 1220}
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
        # Copies: another module that is made of the same parts has weights and state of its own.
        self.backbone, self.balancer = copy.deepcopy(backbone), Fixed() if balancer is None else copy.deepcopy(balancer)
        objectives = {plain(name): copy.deepcopy(objective) for name, objective in sorted(objectives.items())}
        self.objectives = nn.ModuleDict(objectives)
        self.optimizer: Any = DEFAULT if optimizer is None else plain(optimizer)
        self.lr_schedule, self.on_nonfinite = lr_schedule, on_nonfinite
        self.names, self.sources = tuple(objectives), check_objectives(objectives)
        kept = {"backbone": backbone, "objectives": objectives, "balancer": self.balancer, "on_nonfinite": on_nonfinite}
        kept |= {"optimizer": factory_to_config(self.optimizer), "lr_schedule": asdict(lr_schedule)}
        self.save_hyperparameters(to_config(kept), logger=False)
        self.watch_every: int | None = None
        self.tokenizer_files: dict[str, str] | None = None
        self.lr: float | None = None
        self._compiler: Compiler | None = None
        self._built = False

    def meet_data(self, data: TextDataModule) -> None:
        """Hold a module that is made already against data, and begin a new training where it is fitted."""
        if self._built:
            check_data(self, data)
            if self.trainer.training and begins(self.trainer):
                steps = training_steps(self.trainer, data.steps_per_epoch)
                self.balancer.cpu().restart(steps)  # the Trainer moves it back
                self._begin(data.seq_len, steps)

    def configure_model(self) -> None:
        """Make backbone, heads and balancer from the data module's vocabulary, from the same seed on every rank."""
        data = None if self._trainer is None else data_of(self.trainer)
        if data is None or self._built:
            return
        with torch.device("cpu"):  # the Trainer's device would draw other numbers; it moves the module itself
            steps = training_steps(self.trainer, data.steps_per_epoch)
            self.build(data.vocabulary, data.seq_len, steps, target_counts=data.target_counts())
        self.tokenizer_files = data.text.tokenizer_files
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
        self.vocabulary, objectives, seed = vocabulary, self._objectives, training_seed(self._trainer)
        with torch.device(device or torch.get_default_device()):
            build_model(self.backbone, objectives, vocabulary, seq_len, seed, target_counts)
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        initial = torch.tensor([objective.initial_loss() for objective in objectives.values()], dtype=dtype)
        check_needs(self.balancer)
        self.balancer.setup(self.names, initial, steps)
        self._begin(seq_len, steps)
        self.validation = ValidationMetrics(objectives)
        # Ranks agree by construction; a broadcast would hide it if they did not, and wait where one validates on more.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]
        if self.balancer.needs == "last_layer":
            log.info("last shared layer: %s", self.backbone.layer_name(self.balancer.layer))
        self._built = True

    def _begin(self, seq_len: int, steps: int) -> None:
        """Set all that is counted over a training to its start."""
        self.seq_len, self.steps, self.seed = plain(seq_len), plain(steps), training_seed(self._trainer)
        self._generator = torch.get_rng_state()  # which each step seeds
        self.experiment: dict[str, Any] | None = None
        self.activity, self.tokens_read, self.steps_skipped, self.recent_skips = ActivityLog(), 0, 0, list[int]()
        for step in range(ACTIVITY_DELAY + 1):
            self._log_activity(step)
        self.last_step: StepMetrics | None = None
        self._store: GradientStore | None = None
        self._resumed_metrics: dict[str, Tensor] = {}
        self._watched = self._ends_epoch = self.validates_again = False

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

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the shared model as `torch.compile` does, from the next `fit` on."""
        self._compiler = partial(torch.compile, *args, **kwargs)

    def on_fit_start(self) -> None:
        trainer: Any = self.trainer
        self.experiment = describe_experiment(self, trainer, trainer.datamodule, trainer.optimizers[0])
        compile_backbones(self, self._compiler)
        trainer.callback_metrics.update({name: n.to(self.device) for name, n in self._resumed_metrics.items()})

    def teardown(self, stage: str) -> None:
        if stage == "fit":
            torch.set_rng_state(self._generator)

    def on_train_start(self) -> None:
        if self._ends_epoch:
            end_epoch(self.trainer)
            self._ends_epoch = False
        self._begin_step()

    def on_train_batch_start(self, *_: Any) -> None:
        # The step that rows of numbers get; Lightning counts one too many after resuming from some checkpoints.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def _begin_step(self) -> None:
        step = self.trainer.global_step
        self._watched = self.watch_every is not None and step % self.watch_every == 0
        store, needs = None, self.balancer.needs
        if needs != "losses" or self._watched:
            names = self.backbone.shared_parameters() if needs == "all_layers" else self._last_layer()
            store = GradientStore.empty(self.backbone.model, names, len(self.names), self._store)
        self._store = store
        dtype = torch.promote_types(self.backbone.embedding.dtype, torch.float32)
        weights = self.weights(step).to(self.device).clone()  # state may be moved in place
        accumulate = self.trainer.accumulate_grad_batches
        self._step = StepAccumulator(self.names, weights, self._store, self.balancer.deferred, dtype, accumulate)

    def weights(self, step: int) -> Tensor:
        """The balancer's weights of a step, one for each objective, `(objectives,)`."""
        return check_weights(self.balancer.weights(step), self.balancer, self.names)

    def _last_layer(self) -> list[str]:
        return self.backbone.layer_parameters(self.balancer.layer)

    @torch.compiler.disable
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
        return total + zero_of_idle(self.backbone, objectives, batch.views)

    def forward_views(self, views: Mapping[str, View], store: GradientStore | None = None) -> dict[str, LossOutput]:
        """Losses of views, in as few passes of the backbone as the gradients that a store collects allow."""
        layer = None if self.balancer.needs == "all_layers" else self.balancer.layer
        return forward(self.backbone, self._objectives, views, store, layer)

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.last_step = end_step(self, self._step, self._last_layer() if self._watched else [])
        self._log_activity(self.last_step.step + 1 + ACTIVITY_DELAY)
        self.tokens_read += self._step.tokens
        # Not a callback: these get this hook before the module does, and the next one after the learning rate moved.
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.last_step.step + 1) % every == 0:
            log_step(self, self.last_step)

    def on_train_end(self) -> None:
        check_recent_skips(self, self.trainer.global_step, ended=True)

    def on_train_batch_end(self, *_: Any) -> None:
        if self._step.is_complete():
            self._begin_step()

    @torch.compiler.disable
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        del batch_idx
        self.validation.update(batch.views, self.forward_views(batch.views))

    def on_validation_epoch_end(self) -> None:
        values = self.validation.compute(partial(self.trainer.strategy.reduce_boolean_decision, all=False))
        self.log_dict(values, batch_size=1)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        SavedState.of(self).write(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        restore(self, checkpoint)

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, *args: Any, import_module: str | Sequence[str] = (), **kwargs: Any
    ) -> "Pretraining":
        """Lightning's own, with `weights_only`, once all that it reads is checked; see `training.run.load_run`."""
        import_modules(import_module)
        parts = make_parts(read_checkpoint(checkpoint_path)[0], checkpoint_path, given=kwargs)
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights_only": True} | parts | kwargs)
