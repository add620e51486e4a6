"""Find a model's transformer layers, and run one of them once for each group of rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


def find_layers(model: Any, with_decoder: bool) -> list[str]:
    """Names of a model's transformer layers in order; of ALBERT those of its groups of layers.

    Args:
        model: of transformers, without a head.
        with_decoder: whether the layers of an encoder-decoder's decoder are wanted too, after the encoder's.
    """
    config = model.config
    depth = None if config.model_type == "albert" else config.num_hidden_layers
    layers = _find_list(model.get_encoder() if config.is_encoder_decoder else model, depth)
    if config.is_encoder_decoder and with_decoder:
        layers += _find_list(model.get_decoder(), None)
    names = {module: name for name, module in model.named_modules()}
    return [names[layer] for layer in layers]


def _find_list(model: nn.Module, depth: int | None) -> list[nn.Module]:
    """Modules of the outermost list of `depth` modules, or of any number where that is `None`."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    whole = [layers for layers in lists if len(layers) == depth or depth is None]
    return whole[0] if whole else max(lists, key=len)  # a mixture may have more experts than layers


@contextmanager
def split_layer(
    model: nn.Module, name: str, rows: Sequence[int], parameters: Sequence[Mapping[str, Tensor]]
) -> Iterator[None]:
    """Run a layer once for each group of rows, with parameters of that group's own.

    Args:
        model: whose layer it is.
        name: of the layer in the model.
        rows: number of rows in each group.
        parameters: for each group, tensors to use instead of the layer's parameters, by their names in the model.
    """
    layer, total = model.get_submodule(name), sum(rows)

    def forward(*args: Any, **kwargs: Any) -> Any:
        outputs, start = [], 0
        del layer.forward  # the class's own again
        for size, given in zip(rows, parameters, strict=True):
            # Hidden states and masks have the rows first, and three or four axes; a table of two, such as one of
            # rotations, may have as many positions as there are rows.
            part = tree_map(
                lambda x, at=start, to=start + size: (
                    x[at:to] if isinstance(x, Tensor) and x.ndim > 2 and len(x) == total else x
                ),
                (args, kwargs),
            )
            own = {key.removeprefix(f"{name}."): value for key, value in given.items()}
            outputs.append(torch.func.functional_call(layer, own, *part))
            start += size
        layer.forward = forward
        return tree_map(lambda *parts: _join(parts, rows) if isinstance(parts[0], Tensor) else parts[0], *outputs)

    layer.forward = forward
    try:
        yield
    finally:
        layer.__dict__.pop("forward", None)


def _join(parts: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    """The groups' outputs as one; what a group has once for all its rows, as position biases, is repeated for each."""
    pairs = zip(parts, rows, strict=True)
    return torch.cat([part if len(part) == size else part.expand(size, *part.shape[1:]) for part, size in pairs])
