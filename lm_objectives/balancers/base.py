"""The contract between a balancer and whoever trains with it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_objectives.plugin import Plugin


@dataclass(frozen=True)
class StepStatistics:
    """What one optimizer step measured, summed over all its micro-batches and all ranks.

    Attributes:
        step: optimizer steps taken before this one, 0 for the first.
        losses: nats per scored position of each objective over the whole step; 0 where it scored none.
        present: which objectives scored a position in this step and have a weight above 0. The others' losses and
            gradients mean nothing, and a balancer leaves their state as it is.
        gradients: a row for each objective, the gradient of its *unweighted* loss over the last shared block or, for
            `all_layers`, all blocks; `None` for a balancer that needs losses alone.
    """

    step: int
    losses: Float[Tensor, " objectives"]
    trained: Bool[Tensor, " objectives"]
    gradients: Float[Tensor, "objectives parameters"] | None = None


class Balancer(Plugin, nn.Module, ABC):
    """Decides the weights w of the total w1·L1 + w2·L2 + …; the one place where objectives meet.

    `weights` is asked before a step and answers from state alone, so that all micro-batches and ranks of the step use
    the same. `update` is told afterwards, once an optimizer step, what the whole step measured; it is not called for a
    step in which anything was not finite. State lives in buffers, so that it is saved and resumed; nothing here is a
    parameter, so that the model's optimizer neither decays nor clips it.
    """

    needs: Literal["losses", "last_layer", "all_layers"] = "losses"
    """What `update` reads: losses, or also gradients over the last shared layer or all shared layers."""

    deferred: bool = False
    """Whether the weights come out of the step's own gradients: then `update` returns them."""

    layer: int = -1
    """Transformer block that `last_layer` means, counted from the end where it is negative."""

    initial_losses: Tensor

    def setup(self, names: Sequence[str], initial_losses: Float[Tensor, " objectives"], steps: int) -> None:
        """Learn whom to balance. Called once, before training and before state is restored.

        Args:
            names: the objectives' names, in the order of every vector here.
            initial_losses: each objective's theoretical loss before training, in nats (ln V, ln 2, …).
            steps: optimizer steps in the whole training, -1 where it has no end.
        """
        self.names = tuple(names)
        self.steps = steps
        self.register_buffer("initial_losses", initial_losses.clone())

    @abstractmethod
    def weights(self, step: int) -> Float[Tensor, " objectives"]:
        """The weights of optimizer step `step`, each at least 0, from state alone and without side effects."""

    def update(self, statistics: StepStatistics) -> Float[Tensor, " objectives"] | None:
        """Learn from a step that is over; a `deferred` balancer returns the weights of that very step."""
        del statistics
        return None

    def active(self, step: int) -> Bool[Tensor, " objectives"]:
        """Which objectives shall read rows at `step`, as far as is known now."""
        del step
        return torch.ones(len(self.names), dtype=torch.bool)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Balancer":
        """State keeps its precision when the model is cast to half: small moves would be rounded away."""
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        keep_precision(self, before)
        return self


def keep_precision(module: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Give buffers that were cast to half their values of `before` again, in single precision or more."""
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.dtype in (torch.float16, torch.bfloat16):
            dtype = torch.promote_types(before[name].dtype, torch.float32)
            setattr(module, name, before[name].to(buffer.device, dtype))


def masked_sum(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Sum of the present objectives' values; the others may hold anything, NaN included."""
    return torch.where(present, values, 0).sum()


def masked_mean(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Mean over the present objectives, 0 where there is none."""
    return masked_sum(values, present) / present.sum().clamp(min=1)


def normalize_to_count(
    weights: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]
) -> Float[Tensor, " objectives"]:
    """Weights scaled so that the present objectives' weights sum to how many they are."""
    return weights * present.sum() / masked_sum(weights, present)
