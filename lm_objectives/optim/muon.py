"""Muon, an optimizer that orthogonalizes the updates of matrices by Newton-Schulz iterations."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import Optimizer, ParamsT

from lm_objectives.errors import InputError, expect
from lm_objectives.ranges import is_within

_ITERATIONS = 5


_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrices: Float[Tensor, "matrices rows columns"]) -> Float[Tensor, "matrices rows columns"]:
    """Move the singular values of each matrix U S Vᵀ to about 1, which gives about U Vᵀ, by Newton-Schulz iterations.

    X ← P X with P = a I + b X Xᵀ + c (X Xᵀ)², five times from X / ‖X‖, with a = 3.4445, b = -4.7750, c = 2.0315. These
    coefficients trade accuracy for slope at 0: singular values of at least 0.002 ‖X‖ end in [0.68, 1.21]. Products run
    in the precision given, and the Gram matrix X Xᵀ is rows by rows, so pass matrices with rows ≤ columns.
    """
    rows, columns = matrices.shape[1:]
    x = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-7)
    # The iterations of a wide matrix are cheaper on X Xᵀ alone, but squared values need more than half precision.
    if columns < 2 * rows or x.dtype == torch.bfloat16:
        for _ in range(_ITERATIONS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
        return x
    gram = x @ x.mT
    product = polynomial = _polynomial(gram)
    for _ in range(_ITERATIONS - 1):
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram)
        product = polynomial @ product
    return product @ x


def _polynomial(gram: Float[Tensor, "matrices rows rows"]) -> Float[Tensor, "matrices rows rows"]:
    result = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
    result.diagonal(dim1=-2, dim2=-1).add_(_A)
    return result


def orthogonalize_by_shape(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Apply `orthogonalize` to matrices of any shapes, those of one shape, transposed or not, in one batch.

    In bfloat16 on a GPU and in single precision on a CPU, where bfloat16 is often slow; double stays double.
    """
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        alike[matrix.device, matrix.dtype, min(matrix.shape), max(matrix.shape)].append(index)
    results = list(matrices)
    for (device, dtype, rows, _), indices in alike.items():
        wide = [matrices[index] if matrices[index].shape[0] == rows else matrices[index].mT for index in indices]
        precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        stack = torch.stack(wide).to(dtype if dtype == torch.float64 else precision)
        for index, result in zip(indices, orthogonalize(stack).to(dtype), strict=True):
            results[index] = result if matrices[index].shape[0] == rows else result.mT
    return results


class Muon(Optimizer):
    """Muon for matrices (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"), else AdamW.

    For a matrix W (rows × columns) with gradient G:

        M ← μ M + (1 - μ) G
        W ← (1 - lr · weight_decay) W - lr · √max(1, rows / columns) · orthogonalize(μ M + (1 - μ) G)

    The factor of shape is Jordan's own: it keeps the change of a layer's output alike where it has more outputs
    than inputs. It reads a weight as outputs × inputs, or the other way round in a group that is `transposed`.
    Everything else follows AdamW (Loshchilov and Hutter 2019, algorithm 2) in torch's formula.

    A group's `role` decides: `matrix` is Muon's, any other AdamW's. A group without one is split by dimension, 2-D
    parameters to Muon, which is wrong for embeddings and output layers (Jordan et al. leave them to AdamW): name roles
    as `parameter_groups` does where there are any. `lr` of each group is the rate that it moves by, so schedulers see
    and change both rates.

    Matrices of one shape, transposed or not, are orthogonalised in one batch, in bfloat16 on a GPU and single precision
    on a CPU; double precision stays double on both. A parameter without gradient is left alone, by decay also.

    >>> import torch
    >>> from lm_objectives import Muon
    >>> optimizer = Muon(torch.nn.Linear(4, 4).parameters(), lr=0.02)
    >>> [(group["role"], group["lr"]) for group in optimizer.param_groups]
    [('matrix', 0.02), ('vector', 0.003)]

    Args:
        params: parameters or groups of them.
        lr: learning rate of matrices, at least 0; the spectral norm of an update is about `lr`.
        adamw_lr: learning rate of everything else, at least 0; a group's own `lr` goes before either.
        momentum: μ, in [0, 1).
        betas: AdamW's decay rates of the gradient's first and second moment, each in [0, 1).
        eps: AdamW's term against division by zero, above 0.
        weight_decay: decoupled, as a share of the weight per unit of learning rate, at least 0; for all groups that
            do not name their own.

    Raises:
        InputError: for a value out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        adamw_lr: float = 3e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in {"lr": lr, "adamw_lr": adamw_lr, "weight_decay": weight_decay}.items():
            expect(is_within(value, 0), f"{name} of at least 0", value, "choose a rate such as 0.01")
        for name, value in {"momentum": momentum, "betas[0]": betas[0], "betas[1]": betas[1]}.items():
            expect(is_within(value, 0) and value < 1, f"{name} in [0, 1)", value, "choose a rate such as 0.95")
        expect(is_within(eps, 0) and eps > 0, "eps above 0", eps, "choose a small number such as 1e-8")
        rates = {"lr": lr, "adamw_lr": adamw_lr, "momentum": momentum, "betas": tuple(betas)}
        super().__init__(params, rates | {"eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; one without a role becomes two, its 2-D parameters and the others."""
        params = param_group["params"]
        members = [params] if isinstance(params, Tensor) else list(params)
        shapes = [tuple((member[1] if isinstance(member, tuple) else member).shape) for member in members]
        if "role" not in param_group:
            pairs = list(zip(members, shapes, strict=True))
            for role, is_matrix in (("matrix", True), ("vector", False)):
                if chosen := [member for member, shape in pairs if (len(shape) == 2) is is_matrix]:
                    self.add_param_group(param_group | {"params": chosen, "role": role})
            return
        matrix = param_group["role"] == "matrix"
        if matrix and (odd := [shape for shape in shapes if len(shape) != 2]):
            raise InputError(f"expected 2-D weights in a group of role matrix, found shape {odd[0]}: name another role")
        rate = {} if matrix else {"lr": self.defaults["adamw_lr"]}
        super().add_param_group(rate | param_group | {"params": members})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; `closure` computes the gradients again and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            move = self._step_matrices if group["role"] == "matrix" else self._step_adamw
            if moving:
                move(moving, [parameter.grad for parameter in moving], group)
        return loss

    def _step_matrices(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = orthogonalize_by_shape(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        outputs, inputs = (1, 0) if group.get("transposed") else (0, 1)
        torch._foreach_mul_(updates, [max(1, u.shape[outputs] / u.shape[inputs]) ** 0.5 for u in updates])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _step_adamw(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        averages, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        options = {name: group[name] for name in ("lr", "weight_decay", "eps")} | {"amsgrad": False, "maximize": False}
        options["beta1"], options["beta2"] = group["betas"]
        adamw(parameters, gradients, averages, squares, [], steps, foreach=True, **options)
