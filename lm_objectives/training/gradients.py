"""Per-objective gradients of shared parameters out of one backward pass."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GradientStore:
    """Gradients of chosen parameters, apart for each objective, summed over the micro-batches of a step.

    Each pass of the backbone runs on aliases of the parameters. An alias's hook sees the gradient of that pass alone,
    adds it here, and lets it go on to the parameter, so that neither a second backward nor a retained graph is needed.

    Args:
        parameters: what to watch, by name; the order is the order of the columns.
        objectives: number of rows.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], objectives: int) -> None:
        self.parameters = dict(parameters)
        self._columns: dict[str, slice] = {}
        size = 0
        for name, parameter in self.parameters.items():
            self._columns[name] = slice(size, size + parameter.numel())
            size += parameter.numel()
        first = next(iter(self.parameters.values()))
        self.gradients: Float[Tensor, "objectives parameters"] = first.detach().new_zeros(
            objectives, size, dtype=torch.promote_types(first.dtype, torch.float32)
        )

    def aliases(self, objective: int) -> dict[str, Tensor]:
        """Stand-ins for the watched parameters during one pass of `objective`."""
        made = {}
        for name, parameter in self.parameters.items():
            alias = parameter.view_as(parameter)
            target = self.gradients[objective, self._columns[name]].view(parameter.shape)
            alias.register_hook(lambda gradient, target=target: _add(target, gradient))
            made[name] = alias
        return made

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
