"""The contract of a balancer: weights before a step, one update after it."""

import functools
from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_objectives.errors import expect
from lm_objectives.plugin import Plugin
from lm_objectives.ranges import is_within

_LARGEST_RATE = 1000

Needs = Literal["losses", "last_layer", "all_layers"]

PerObjective = Float[Tensor, " objectives"]
"""A number for each objective."""


@dataclass(frozen=True)
class StepStatistics:
    """What one optimizer step measured, summed over all its micro-batches and all ranks.

    Attributes:
        step: optimizer steps taken before this one, 0 for the first.
        losses: nats per scored position of each objective over the whole step; 0 where it scored none.
        trained: which objectives scored a position in this step and have a weight above 0. The others' losses and
            gradients mean nothing.
        gradients: a row for each objective, the gradient of its *unweighted* loss over the last shared layer or, for
            `all_layers`, all layers; `None` for a balancer that needs losses alone.
    """

    step: int
    losses: PerObjective
    trained: Bool[Tensor, " objectives"]
    gradients: Float[Tensor, "objectives parameters"] | None = None


class ObjectiveState(Plugin, nn.Module, ABC):
    """State of balancers and pacing functions: an entry for each objective, updated once an optimizer step.

    It is kept in buffers, so that it is saved and resumed; nothing here is a parameter, so that the model's optimizer
    neither decays nor clips it.
    """

    initial_losses: Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in vars(cls):
            cls.update = _keep_untrained(cls.update)  # type: ignore[method-assign]

    def setup(self, names: Sequence[str], initial_losses: PerObjective, steps: int) -> None:
        """Set the objectives' names and initialise state. Called once, before anything is trained or restored.

        Args:
            names: the objectives' names, in the order of every vector here.
            initial_losses: each objective's theoretical loss before training, in nats (ln V, ln 2, …).
            steps: optimizer steps in the whole training, -1 where it has no end.
        """
        self.names = tuple(names)
        self.steps = steps
        self.register_buffer("initial_losses", initial_losses.clone())
        state = self.initial_state(initial_losses)
        for name, value in state.items():
            self.register_buffer(name, value.clone())
        self.keeps_state = bool(state)
        self._per_objective = [name for name, value in state.items() if value.shape == initial_losses.shape]

    def restart(self, steps: int) -> None:
        """Begin another training of `steps` steps: state stays, what follows the length of a training begins anew."""
        self.steps = steps

    def initial_state(self, losses: PerObjective) -> dict[str, Tensor]:
        """Tensors to keep, by name: each becomes an attribute that is saved, resumed and moved between devices.

        State of shape `(objectives,)` changes only for objectives that the step trained, whatever `update` does.
        `names`, `steps` and `initial_losses` are set before it is called.

        Args:
            losses: the initial losses.
        """
        return {}

    def update(self, statistics: StepStatistics) -> PerObjective | None:
        """Learn from a step that is over; its losses have the dtype and device of the state."""
        return None

    def expect(self, valid: bool, expected: str, found: object, mend: str) -> None:
        """Raise `InputError` where an argument is not valid: "{class} expects {expected}, found {found}: {mend}"."""
        expect(valid, expected, found, mend, type(self).__name__)

    def expect_rate(self, learning_rate: float, mend: str) -> None:
        """Raise `InputError` for a learning rate that moves nothing, or beyond what single precision can follow."""
        valid = is_within(learning_rate, 0, _LARGEST_RATE) and learning_rate > 0
        self.expect(valid, f"a learning_rate above 0, at most {_LARGEST_RATE:,}", learning_rate, mend)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ObjectiveState":
        """State keeps at least single precision when the model is cast to half: small moves would be rounded away."""
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.dtype in (torch.float16, torch.bfloat16):
                dtype = torch.promote_types(before[name].dtype, torch.float32)
                setattr(self, name, before[name].to(buffer.device, dtype))
        return self


def _keep_untrained(update: Callable[[Any, StepStatistics], Tensor | None]) -> Callable[..., Tensor | None]:
    """An `update` after which state of shape `(objectives,)` is as before for objectives that were not trained."""

    @functools.wraps(update)
    def update_trained(self: ObjectiveState, statistics: StepStatistics) -> Tensor | None:
        before = {name: getattr(self, name).clone() for name in self._per_objective}
        weights = update(self, replace(statistics, losses=statistics.losses.to(self.initial_losses)))
        for name, value in before.items():
            setattr(self, name, torch.where(statistics.trained, getattr(self, name), value))
        return weights

    return update_trained


class Balancer(ObjectiveState):
    """Decides the weights w of the total w1·L1 + w2·L2 + …; the one place where objectives meet.

    `weights` is called before a step and answers from state alone, so that all micro-batches and ranks of the step use
    the same. `update` is called once afterwards with what the whole step measured; not after a step in which anything
    was not finite. A subclass has an `initial_state` that holds `weight`, or its own `weights`:

        >>> import torch
        >>> from lm_objectives import Balancer, StepStatistics
        >>> class InverseLoss(Balancer):
        ...     def initial_state(self, losses):
        ...         return {"weight": 1 / losses}
        ...     def update(self, statistics):
        ...         self.weight = 1 / statistics.losses
        >>> balancer = InverseLoss()
        >>> balancer.setup(["causal", "order"], torch.tensor([8.0, 0.5]), steps=100)
        >>> balancer.update(StepStatistics(0, torch.tensor([4.0, 0.0]), torch.tensor([True, False])))
        >>> balancer.weights(1)
        tensor([0.2500, 2.0000])
    """

    needs: Needs = "losses"
    """What `update` reads: losses, or also gradients over the last shared layer or all shared layers."""

    deferred: bool = False
    """Whether the weights come out of the step's own gradients: then `update` returns them."""

    layer: int = -1
    """Transformer layer that `last_layer` means, counted from the end where it is negative."""

    weight: Tensor

    def weights(self, step: int) -> PerObjective:
        """The weights of optimizer step `step`, each at least 0, from state alone and without side effects."""
        self.expect(hasattr(self, "weight"), "weights", "none", "return weight from initial_state, or define weights")
        return self.weight

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        """Which objectives shall read rows at `step`, as far as is known now."""
        return torch.ones(len(self.names), dtype=torch.bool)

    @property
    def knows_activity(self) -> bool:
        """Whether `active` answers for every step of the training beforehand: it does, unless state decides."""
        return type(self).active is Balancer.active or not self.keeps_state


Balancer.__abstractmethods__ = frozenset({"weights"})  # the command line offers subclasses alone; they may leave it out


def masked_sum(values: PerObjective, mask: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Sum of the values in the mask; the others may hold anything, NaN included."""
    return torch.where(mask, values, 0).sum()


def masked_mean(values: PerObjective, mask: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Mean of the values in the mask, 0 where there is none."""
    return masked_sum(values, mask) / mask.sum().clamp(min=1)


def normalize_to_count(weights: PerObjective, mask: Bool[Tensor, " objectives"]) -> PerObjective:
    """Weights scaled so that those in the mask sum to how many they are."""
    return weights * mask.sum() / masked_sum(weights, mask)
