"""A model's transformer blocks, and how one of them runs apart for each group of rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


def find_layers(model: nn.Module, depth: int | None) -> list[nn.Module]:
    """The transformer's layers, the first first.

    Args:
        model: a decoder or an encoder.
        depth: how many layers it has; `None` takes its outermost list.
    """
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    whole = [layers for layers in lists if len(layers) == depth or depth is None]
    return whole[0] if whole else max(lists, key=len)  # a mixture may have more experts than layers


@contextmanager
def split_layer(block: nn.Module, rows: Sequence[int], parameters: Sequence[dict[str, Tensor]]) -> Iterator[None]:
    """Let a block run once for each group of rows, on stand-ins for its parameters of that group's own."""
    total = sum(rows)

    def forward(*args: Any, **kwargs: Any) -> Any:
        outputs, start = [], 0
        del block.forward  # the class's own again
        for size, own in zip(rows, parameters, strict=True):
            # Hidden states and masks have the rows first, and three or four axes; a table of two, such as one of
            # rotations, may have as many positions as there are rows.
            part = tree_map(
                lambda x, at=start, to=start + size: (
                    x[at:to] if isinstance(x, Tensor) and x.ndim > 2 and len(x) == total else x
                ),
                (args, kwargs),
            )
            outputs.append(torch.func.functional_call(block, own, *part))
            start += size
        block.forward = forward
        return tree_map(lambda *parts: _joined(parts, rows) if isinstance(parts[0], Tensor) else parts[0], *outputs)

    block.forward = forward
    try:
        yield
    finally:
        block.__dict__.pop("forward", None)


def _joined(parts: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    """What each group came out with, one behind the other; what a group has once, as position biases, for each row."""
    pairs = zip(parts, rows, strict=True)
    return torch.cat([part if len(part) == size else part.expand(size, *part.shape[1:]) for part, size in pairs])
