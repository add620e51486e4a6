"""Layers of heads as the families have them."""

import pytest
import torch
from utils.families import FAMILIES, SEQ2SEQ, VOCABULARY, built

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.errors import InputError


@pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ])
def test_logits_of_a_fresh_transform_are_as_wide_as_the_embedding_draws_them(family: str) -> None:
    """A norm's output has a mean square of 1, so that no token's logit is far from 0; T5 draws embeddings by 1."""
    backbone = built(family)
    width = backbone.embedding.shape[1]
    states = backbone.head_transform(width)(torch.randn(64, backbone.dim, generator=torch.Generator().manual_seed(0)))
    assert states.shape == (64, width)
    assert (states @ backbone.embedding.T).std() < 1.5


def test_an_activation_that_does_not_exist_is_one_clear_line() -> None:
    """The backbone itself has none of it: only its head does."""
    backbone = Backbone("modernbert", FAMILIES["modernbert"] | {"classifier_activation": "gello"})
    backbone.setup(VOCABULARY, 12)
    message = r"^expected an activation that transformers knows, found KeyError \('gello'\): change model.backbone"
    with pytest.raises(InputError, match=message):
        backbone.head_transform(32)
