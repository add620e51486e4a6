"""Accumulate the losses and gradients of one optimizer step, over its micro-batches and all ranks.

An objective *has rows* in a step where it scores a position in it; it is *trained* where its weight is above 0 too;
it is *active* where the balancer lets it read rows at all (see `Balancer.active`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_objectives.errors import RunError
from lm_objectives.training.gradients import GradientStore

Totals = Mapping[str, Mapping[str, Any]]
"""Scored positions of the parts of each objective's loss: numbers, or tensors of one element."""


class NonFiniteError(RunError):
    """A loss or gradient was not finite, and `on_nonfinite` is stop; or half of the last steps had none that was."""


@dataclass(frozen=True, eq=False)
class StepMetrics:
    """What an optimizer step measured, for callbacks.

    Attributes:
        step: its number, from 0.
        losses: nats per scored position of each objective; 0 where it scored none.
        weights: the weights of the total that was stepped with.
        norm: norm of the gradient of the weighted total, before clipping.
        finite: whether the step was taken; else it was skipped as a whole.
        has_rows: which objectives scored a position.
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

    def to_log(self, rows: Mapping[str, int], global_batch_size: int) -> dict[str, float]:
        """The numbers that loggers get, by their names.

        Args:
            rows: how many rows each objective reads in this step, in the order of the losses.
            global_batch_size: rows of the whole step.

        >>> values = torch.tensor([2.0, 0.0]), torch.tensor([0.5, 1.0]), torch.tensor(3.0)
        >>> metrics = StepMetrics(0, *values, True, (True, False), None)
        >>> metrics.to_log({"causal": 6, "order": 0}, 8)["train/causal/share"]
        0.75
        """
        values: dict[str, float] = {}
        losses, weights = self.losses.tolist(), self.weights.tolist()
        for name, loss, weight, has_rows in zip(rows, losses, weights, self.has_rows, strict=True):
            count = rows[name] if has_rows else 0
            values[f"train/{name}/weight"] = weight
            values[f"train/{name}/rows"] = float(count)
            values[f"train/{name}/share"] = count / global_batch_size
            if has_rows:
                values[f"train/{name}/loss"] = loss
                values[f"train/{name}/weighted_loss"] = weight * loss
        values["train/loss"] = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        values["train/gradient_norm"] = float(self.norm)
        return values


@dataclass(eq=False)
class StepAccumulator:
    """Adds up an optimizer step's micro-batches, then sums them over the ranks.

    One backward pass has to do for everything: it runs on the weighted total, whose gradient the optimizer wants, so a
    balancer that reads an objective's own gradient gets it with the weight divided out; only where the weights come out
    of these gradients does the pass run unweighted, and the weights are multiplied in afterwards.

    Args:
        names: the objectives.
        weights: the balancer's for this step.
        store: collects per-objective gradients; `None` where nothing reads them.
        deferred: whether the weights come out of these gradients.
        dtype: of the losses.
        accumulate: micro-batches of the step.
    """

    names: Sequence[str]
    weights: Float[Tensor, " objectives"]
    store: GradientStore | None
    deferred: bool
    dtype: torch.dtype
    accumulate: int = 1

    def __post_init__(self) -> None:
        self.losses = self.weights.new_zeros(len(self.names), dtype=self.dtype)
        self.tokens = self.micro_batches = 0
        self._scored: list[int | Tensor] = [0] * len(self.names)
        self.has_rows = (False,) * len(self.names)

    def add(self, losses: Mapping[str, Tensor], totals: Totals, tokens: int) -> Tensor:
        """Add a micro-batch; returns its part of the total to go backward from.

        Args:
            losses: its part of each objective's loss, already divided by the counts of the whole step.
            totals: counts of the whole step, of the objectives that have rows anywhere in it.
            tokens: tokens in it.
        """
        measured = torch.stack([losses.get(name, self.losses.new_zeros(())) for name in self.names])
        self.losses += measured.detach()
        self.tokens += tokens
        self.micro_batches += 1
        self._scored = [sum(totals.get(name, {}).values()) for name in self.names]
        return measured.sum() if self.deferred else (self.weights.to(measured.dtype) * measured).sum()

    def is_complete(self) -> bool:
        """Whether all micro-batches were added."""
        return self.micro_batches == self.accumulate

    def reduce(self, ranks: int, reduce: Callable[[Tensor], Tensor], scale: float) -> None:
        """Sum losses, tokens and gradients over all ranks, after the last micro-batch.

        Args:
            ranks: number of processes.
            reduce: sums a tensor over them.
            scale: what a gradient scaler has multiplied the total by.
        """
        if not self.is_complete():
            raise RuntimeError(f"a step of {self.accumulate} micro-batches was taken after {self.micro_batches}")
        self.has_rows = tuple(bool(count > 0) for count in self._scored)
        if ranks > 1:
            totals = reduce(torch.cat([self.losses, self.losses.new_tensor([self.tokens])]))
            self.losses, self.tokens = totals[:-1], int(totals[-1])
        if self.store is not None:
            self.store.gradients /= ranks * scale  # each rank's total was multiplied by the ranks
            if ranks > 1:
                self.store.gradients = reduce(self.store.gradients)

    def trained(self) -> Bool[Tensor, " objectives"]:
        """Which objectives have rows and a weight above 0."""
        return torch.tensor(self.has_rows, device=self.weights.device) & (self.weights > 0)

    def unweighted_gradients(self, parameters: Sequence[str]) -> Float[Tensor, "objectives parameters"]:
        """Each objective's gradient of its own loss over some of the watched parameters; 0 where its weight is."""
        assert self.store is not None
        gradients = self.store.of(parameters)
        if self.deferred:
            return gradients
        weights = self.weights.to(gradients)[:, None]
        return torch.where(weights > 0, gradients / weights.clamp_min(1e-38), 0)

    def apply_weights(self, weights: Float[Tensor, " objectives"], heads: Iterable[nn.Module]) -> None:
        """Turn unweighted gradients into those of the weighted total, of shared parameters and of each head."""
        assert self.store is not None
        self.weights = weights
        self.store.write(weights)
        for weight, head in zip(weights, heads, strict=True):
            for parameter in head.parameters():
                if parameter.grad is not None:
                    parameter.grad *= weight.to(parameter.grad.dtype)

    def is_finite(self, norm: Float[Tensor, ""]) -> bool:
        """Whether every loss is finite, and the norm of all gradients."""
        return bool(self.losses.isfinite().all() & norm.isfinite())

    def raise_nonfinite(self, step: int) -> NoReturn:
        """Raise an error that names the objectives whose losses are not finite."""
        bad = [name for name, loss in zip(self.names, self.losses.tolist(), strict=True) if not math.isfinite(loss)]
        raise NonFiniteError(
            f"expected finite losses and gradients, found {', '.join(bad) or 'a gradient'} not finite at step {step}: "
            "lower the learning rate, or set model.on_nonfinite to skip"
        )
