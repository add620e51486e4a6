"""One optimizer step from its first micro-batch to its last, on all ranks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_objectives.training.gradients import GradientStore

Totals = Mapping[str, Mapping[str, Any]]
"""Scored positions of the parts of each objective's loss: numbers, or tensors of one element."""


@dataclass(frozen=True, eq=False)
class StepMetrics:
    """What an optimizer step measured, for callbacks.

    Attributes:
        step: its number, from 0.
        losses: nats per scored position of each objective; 0 where it scored none.
        weights: the weights it was taken with.
        norm: norm of the gradient of the weighted total, before clipping.
        finite: whether it was taken; else it was dropped whole.
        present: which objectives scored a position.
        gradients: where the step was watched, a row for each objective: the gradient of its unweighted loss on the last
            shared layer, 0 where its weight is; else `None`.
    """

    step: int
    losses: Tensor
    weights: Tensor
    norm: Tensor
    finite: bool
    has_rows: tuple[bool, ...]
    gradients: Tensor | None


class StepAccumulator:
    """Adds up an optimizer step's micro-batches, then sums them over the ranks.

    Args:
        names: the objectives.
        weights: the balancer's for this step.
        store: collects per-objective gradients, where somebody wants them.
        deferred: whether the weights come out of these gradients; the passes then run unweighted.
        dtype: of the losses.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Float[Tensor, " objectives"],
        store: GradientStore | None,
        deferred: bool,
        dtype: torch.dtype,
    ) -> None:
        self.names, self.weights, self.store, self.deferred = names, weights, store, deferred
        self.losses = weights.new_zeros(len(names), dtype=dtype)
        self.tokens = self.micro_batches = 0
        self._scored: list[int | Tensor] = [0] * len(names)
        self.has_rows = (False,) * len(names)

    def add(self, losses: Mapping[str, Tensor], totals: Totals, tokens: int) -> Tensor:
        """Take in a micro-batch; returns its part of the total to go backward from.

        Args:
            losses: its part of each objective's loss, already over the counts of the whole step.
            totals: counts of the whole step, of the objectives that have rows anywhere in it.
            tokens: tokens it has read.
        """
        measured = torch.stack([losses.get(name, self.losses.new_zeros(())) for name in self.names])
        self.losses += measured.detach()
        self.tokens += tokens
        self.micro_batches += 1
        self._scored = [sum(totals.get(name, {}).values()) for name in self.names]
        return measured.sum() if self.deferred else (self.weights.to(measured.dtype) * measured).sum()

    def reduce(self, ranks: int, reduce: Callable[[Tensor], Tensor], scale: float) -> None:
        """The last micro-batch is in: sum losses, tokens and gradients over all ranks.

        Args:
            ranks: number of processes.
            reduce: sums a tensor over them.
            scale: what a gradient scaler has multiplied the total by.
        """
        self.has_rows = tuple(bool(count > 0) for count in self._scored)
        if ranks > 1:
            totals = reduce(torch.cat([self.losses, self.losses.new_tensor([self.tokens])]))
            self.losses, self.tokens = totals[:-1], int(totals[-1])
        if self.store is not None:
            self.store.gradients /= ranks * scale  # each rank's total was multiplied by the ranks
            if ranks > 1:
                self.store.gradients = reduce(self.store.gradients)

    def trained(self) -> Bool[Tensor, " objectives"]:
        """Which objectives scored a position and have a weight above 0."""
        return torch.tensor(self.has_rows, device=self.weights.device) & (self.weights > 0)

    def unweighted_gradients(self, parameters: Sequence[str]) -> Float[Tensor, "objectives parameters"]:
        """Each objective's gradient of its own loss over some of the watched parameters; 0 where its weight is."""
        assert self.store is not None
        gradients = self.store.of(parameters)
        if self.deferred:  # the passes ran unweighted
            return gradients
        weights = self.weights.to(gradients)[:, None]
        return torch.where(weights > 0, gradients / weights.clamp_min(1e-38), 0)

    def apply_weights(self, weights: Float[Tensor, " objectives"], heads: Sequence[nn.Module]) -> None:
        """Make the gradients those of the weighted total: the shared from the store, each head's by its weight."""
        assert self.store is not None
        self.weights = weights
        self.store.write(weights)
        for weight, head in zip(weights, heads, strict=True):
            for parameter in head.parameters():
                if parameter.grad is not None:
                    parameter.grad *= weight.to(parameter.grad.dtype)

    def is_finite(self, norm: Float[Tensor, ""]) -> bool:
        """Whether every loss is a number, and the norm of all gradients."""
        return bool(self.losses.isfinite().all() & norm.isfinite())
