"""Count the model FLOPs of training on a micro-batch, with one forward pass."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lm_objectives.errors import InputError
from lm_objectives.views import View

if TYPE_CHECKING:
    from lm_objectives.training.module import Pretraining

_BACKWARD = 2  # a backward pass does the arithmetic of two forward passes


def training_flops(module: "Pretraining", views: Mapping[str, View]) -> int:
    """FLOPs of a forward and a backward pass over views; runs the forward pass, and changes no parameter or gradient.

    A multiplication and an addition are two. Counted are matrix products and attention, a causal one as a whole square,
    over every position that is computed, padding included, with heads at scored positions only, generators and
    decoders. A backward pass is two forward passes, as if all parameters learned; what is done without gradients, such
    as a generator's sampling, has none. Neither the optimizer nor what a balancer does besides is counted.

    Args:
        module: a built one in training mode; compiled parts run uncompiled here, and stay compiled.
        views: of one micro-batch, by objective, on the module's device.

    Raises:
        InputError: in evaluation mode, where heads measure more than training computes.
    """
    if not all(objective.training for objective in module.objectives.values()):
        raise InputError("expected a module in training mode to count FLOPs of, found one in evaluation: call train()")
    devices = [module.device] if module.device.type == "cuda" else []
    drop = torch.autograd.graph.saved_tensors_hooks(lambda saved: None, lambda kept: kept)  # there is no backward pass
    with (
        torch.random.fork_rng(devices),
        torch.compiler.set_stance("force_eager"),
        torch.enable_grad(),
        drop,
        _Counting() as counting,
    ):
        module.forward_views(views)
    return counting.flops


class FlopCounter:
    """Counts `training_flops` of many micro-batches, running a forward pass for the first of each kind alone.

    FLOPs are linear in rows and in scored positions among rows of one kind: the same objectives, alone or on shared
    rows, of one length and attention. So a kind is counted on its first micro-batches, until they say what a row and
    what a scored position costs, and exactly calculated from then on. An objective that joins another's rows makes
    another kind.
    """

    def __init__(self) -> None:
        # For each kind, vectors of rows and scored positions in echelon form: place of the pivot, vector, FLOPs.
        self._known: dict[tuple[Any, ...], list[tuple[int, list[Fraction], Fraction]]] = {}

    def __call__(self, module: "Pretraining", views: Mapping[str, View]) -> int:
        """FLOPs of training on the views of one micro-batch."""
        sharing: dict[int, dict[str, View]] = {}
        for name, view in sorted(views.items()):
            sharing.setdefault(id(view.input_ids), {})[name] = view
        return sum(self._of_rows(module, members) for members in sharing.values())

    def _of_rows(self, module: "Pretraining", views: dict[str, View]) -> int:
        known = self._known.setdefault(_kind(views), [])
        rows = len(next(iter(views.values())).input_ids)
        left = [Fraction(rows), *(Fraction(len(view.label_positions)) for view in views.values())]
        flops = Fraction(0)
        for pivot, vector, cost in known:
            share = left[pivot] / vector[pivot]
            left = [mine - share * other for mine, other in zip(left, vector, strict=True)]
            flops += share * cost
        if any(left):
            counted = training_flops(module, views)
            known.append((next(place for place, value in enumerate(left) if value), left, counted - flops))
            return counted
        return round(flops)


def _kind(views: Mapping[str, View]) -> tuple[Any, ...]:
    """What micro-batches of the same arithmetic for each row and each scored position have in common."""
    return tuple(
        (
            name,
            view.input_ids.shape[1],
            0 if view.decoder_labels is None else view.decoder_labels.shape[1],
            view.attention,
        )
        for name, view in views.items()
    )


class _Counting(TorchDispatchMode):
    """Adds up FLOPs of all operations, three times where gradients are on.

    A function with a backward of its own runs forward without gradients, and is charged what it does there: that of
    the vocabulary's loss takes its gradients there too.
    """

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Iterable[Any] = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (formula := _FORMULAS.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **kwargs, out_val=out) * (1 + _BACKWARD * torch.is_grad_enabled())
        return out


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    rows, heads, time, dim = query.shape
    return 2 * rows * heads * time * key.shape[2] * (dim + value.shape[3])


def _grouped_flops(tokens: Any, experts: Any, *_: Any, **__: Any) -> int:
    return 2 * tokens.numel() * experts.shape[-1]


# torch counts attention on CUDA alone, and no products with a matrix of each token's own expert.
_FORMULAS: dict[Any, Any] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_attention_math_for_mps: _attention_flops,
    torch.ops.aten._grouped_mm: _grouped_flops,
}
