"""Copies the weights of heads from a folder that transformers wrote, by the names that its classes have for them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from lm_objectives.errors import expect

if TYPE_CHECKING:
    from lm_objectives.backbone.pretrained import PretrainedWeights


def parameter_names(head: nn.Module, names: Mapping[str, str]) -> dict[str, str]:
    """Parameters of a built head to their names in a class of transformers, from those of modules (see `hf_names`)."""
    return {
        name: theirs + name.removeprefix(own)
        for name, _ in head.named_parameters()
        for own, theirs in names.items()
        if name == own or name.startswith(f"{own}.")
    }


@torch.no_grad()
def load_weights(head: nn.Module, names: Mapping[str, str], found: "PretrainedWeights") -> bool:
    """Copy a head's weights from a folder that has all of them; whether it has. A head without parameters needs none.

    Raises:
        InputError: for a weight of another shape.
    """
    own, theirs = dict(head.named_parameters()), parameter_names(head, names)
    if not theirs or not found.weights.keys() >= set(theirs.values()):
        return not own
    for name, there in theirs.items():
        weight = found.weights[there]
        expected = f"{there} of shape {tuple(own[name].shape)} in {found.folder}"
        mend = "give the objective the sizes that it was trained with"
        expect(own[name].shape == weight.shape, expected, tuple(weight.shape), mend)
        own[name].copy_(weight)
    return True
