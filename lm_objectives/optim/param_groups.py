"""Group parameters by their role, for optimizers that treat matrices, embeddings and biases differently."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.errors import InputError
from lm_objectives.objectives.base import Objective


def parameter_groups(module: nn.Module, vocabulary: int) -> list[dict[str, Any]]:
    """Group the trainable parameters of `module` by their role, for any torch optimizer.

    >>> from torch import nn
    >>> from lm_objectives import parameter_groups
    >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10))
    >>> for group in parameter_groups(model, vocabulary=10):
    ...     print(group["role"], [tuple(parameter.shape) for parameter in group["params"]])
    matrix [(4, 4)]
    embedding [(10, 4), (10, 4)]
    vector [(4,), (10,)]

    - `matrix`: other 2-D weights, of transformer layers and of hidden layers in heads;
    - `embedding`: tables looked up by index (tokens, positions, segments), and linear maps onto the vocabulary;
    - `output`: weights of the other layers that give an objective's logits, its `output_layers`;
    - `tensor`: weights of 3 dimensions or more (stacked experts, convolutions);
    - `vector`: biases, gains and scalars, with a `weight_decay` of 0 of their own.

    Parameters of fewer than two dimensions, or named a bias as T5's table of relative positions is, do not decay; all
    others do, position embeddings too, as GPT was trained (Radford et al. 2018, section 4.1) and BERT (Devlin et al.
    2019, in its code).

    A weight that is tied between an embedding and a linear map is an `embedding`. Matrices that are stored as inputs ×
    outputs (GPT-2's) have a group of their own, `transposed`. Groups stand in this order and parameters in the
    module's, each once; a role without parameters has no group.

    Args:
        module: backbone and heads together.
        vocabulary: rows of the token embedding; a linear map outside a `Backbone` with as many outputs
            is taken for a vocabulary head.

    Raises:
        InputError: for an output layer that an objective names and does not have.
    """
    tables, transposed = set(), set()
    shared = {part for backbone in module.modules() if isinstance(backbone, Backbone) for part in backbone.modules()}
    for part in module.modules():
        head = isinstance(part, nn.Linear) and part.out_features == vocabulary and part not in shared
        if head or isinstance(part, nn.Embedding):
            tables.add(id(part.weight))
        elif isinstance(part, Conv1D):
            transposed.add(id(part.weight))
    outputs = {id(parameter) for part in module.modules() for parameter in _outputs(part)}
    roles = ("matrix", "transposed", "embedding", "output", "tensor", "vector")
    groups: dict[str, dict[str, Any]] = {role: {"params": [], "role": role} for role in roles}
    groups["transposed"] |= {"role": "matrix", "transposed": True}
    groups["vector"]["weight_decay"] = 0.0
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2 or any(part.endswith("bias") for part in name.split(".")[-2:]):
            group = "vector"
        elif id(parameter) in tables:
            group = "embedding"
        elif id(parameter) in outputs:
            group = "output"
        elif parameter.ndim > 2:
            group = "tensor"
        else:
            group = "transposed" if id(parameter) in transposed else "matrix"
        groups[group]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _outputs(part: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of an objective's output layers; none of any other module."""
    if not isinstance(part, Objective):
        return
    for name in part.output_layers:
        try:
            layer = attrgetter(name)(part)
        except AttributeError:
            if type(part).output_layers is Objective.output_layers:
                continue  # which it did not name itself
            raise InputError(
                f"expected a layer {name} in {type(part).__name__}, whose output_layers name it, found none: "
                "name those that its setup makes"
            ) from None
        if isinstance(layer, nn.Module):
            yield from layer.parameters()
        elif layer is not None:
            yield layer
