"""Collect per-objective gradients of shared parameters in one backward pass."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GradientStore:
    """Gradients of chosen parameters, separate for each objective, summed over the micro-batches of a step.

    Each pass of the backbone runs on aliases of the parameters. An alias's hook sees the gradient of that pass alone,
    adds it here, and lets it go on to the parameter, so that neither a second backward nor a retained graph is needed.

    Args:
        parameters: which to watch, by name; the order is the order of the columns.
        objectives: number of rows.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], objectives: int) -> None:
        self.parameters = dict(parameters)
        ends = [0, *accumulate(parameter.numel() for parameter in self.parameters.values())]
        self._columns = dict(zip(self.parameters, map(slice, ends, ends[1:]), strict=True))
        first = next(iter(self.parameters.values())).detach()
        dtype = torch.promote_types(first.dtype, torch.float32)
        self.gradients: Float[Tensor, "objectives parameters"] = first.new_zeros(objectives, ends[-1], dtype=dtype)

    @classmethod
    def empty(
        cls, model: nn.Module, names: Sequence[str], objectives: int, previous: "GradientStore | None"
    ) -> "GradientStore":
        """An empty store for some parameters of a model; the previous one, emptied, where it watches the same."""
        if previous is not None and list(previous.parameters) == list(names):
            previous.gradients.zero_()
            return previous
        parameters = dict(model.named_parameters())
        return cls({name: parameters[name] for name in names}, objectives)

    def aliases(self, objective: int) -> dict[str, Tensor]:
        """Views of the watched parameters to run one pass of `objective` on; their gradients are added to its row."""
        aliases = {name: parameter.view_as(parameter) for name, parameter in self.parameters.items()}
        for name, alias in aliases.items():
            target = self.gradients[objective, self._columns[name]].view(alias.shape)
            alias.register_hook(partial(_add, target))
        return aliases

    def write(self, weights: Float[Tensor, " objectives"]) -> None:
        """Set the parameters' gradients to the weighted sum of the objectives'."""
        total = weights.to(self.gradients.dtype) @ self.gradients
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad.copy_(total[self._columns[name]].view_as(parameter))

    def of(self, names: Sequence[str]) -> Float[Tensor, "objectives some"]:
        """The gradients of the parameters `names` alone, which follow one another in the columns; a view, no copy."""
        return self.gradients[:, self._columns[names[0]].start : self._columns[names[-1]].stop]


def _add(target: Tensor, gradient: Tensor) -> None:
    target.add_(gradient)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Euclidean norm of all gradients together; infinite or NaN if any entry is."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
