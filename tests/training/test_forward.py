"""The three ways to compute losses agree, and take the passes that they say."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from utils.tiny import backbone, built, view

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, SentenceOrder
from lm_objectives.training.forward import forward
from lm_objectives.training.gradients import GradientStore
from lm_objectives.views import View


@pytest.fixture
def model() -> Backbone:
    return backbone("gpt2").double()  # whose norms compute in double precision


def objectives(model: Backbone) -> dict[str, Objective]:
    """Two on the rows of one, and one on rows of its own."""
    return {name: built(make(), model).double() for name, make in OBJECTIVES.items()}


OBJECTIVES = {"causal": CausalLM, "masked": MaskedLM, "order": SentenceOrder}


def views(made: Mapping[str, Objective]) -> dict[str, View]:
    masked = view(made["masked"])
    order = replace(view(made["order"]), input_ids=masked.input_ids)
    return {"causal": view(made["causal"], seed=1), "masked": masked, "order": order}


def losses(model: Backbone, made: Mapping[str, Objective], *how: object) -> tuple[dict[str, Tensor], Tensor]:
    """Sums by objective, and the gradient of their total."""
    model.zero_grad()
    sums = {name: output.loss_sums["loss"] for name, output in forward(model, made, views(made), *how).items()}
    torch.stack(list(sums.values())).sum().backward()
    return sums, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_all_ways_agree(model: Backbone) -> None:
    """Oracle: the merged pass; and for what a store has collected, the gradient that reached the parameter."""
    made = objectives(model)
    parameters = dict(model.model.named_parameters())
    plain, gradient = losses(model, made)
    for names, layer in ((model.layer_parameters(-1), -1), (model.shared_parameters(), None)):
        store = GradientStore({name: parameters[name] for name in names}, len(made))
        sums, other = losses(model, made, store, layer)
        assert sums.keys() == plain.keys()
        for name in plain:
            torch.testing.assert_close(sums[name], plain[name], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(other, gradient, rtol=1e-9, atol=1e-9)
        assert store.gradients.abs().sum(1).min() > 0
        arrived = torch.cat([parameters[name].grad.flatten() for name in names])  # type: ignore[union-attr]
        torch.testing.assert_close(store.gradients.sum(0), arrived, rtol=1e-9, atol=1e-9)


def test_views_that_share_rows_are_encoded_once_and_together_with_the_others(
    model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, passes = objectives(model), []
    encode = Backbone.encode

    def count(self: Backbone, group: Sequence[View], *rest: object) -> list[Tensor]:
        passes.append(len(group))
        return encode(self, group, *rest)

    monkeypatch.setattr(Backbone, "encode", count)
    forward(model, made, views(made))
    assert passes == [2]
    parameters = dict(model.model.named_parameters())
    names = model.shared_parameters()
    passes.clear()
    forward(model, made, views(made), GradientStore({name: parameters[name] for name in names}, 3))
    assert passes == [1, 1, 1]
