"""One backward by aliases against one `torch.autograd.grad` for each objective."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from utils.families import FAMILIES, built, some_ids, view_of

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.training.gradients import GradientStore, gradient_norm
from lm_objectives.views import View

HEADS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda hidden, embedding: (hidden[..., : embedding.shape[1]] @ embedding.T).logsumexp(-1).sum(),
    lambda hidden, embedding: hidden.square().mean() + 0 * embedding.sum(),
]
WEIGHTS = torch.tensor([0.7, 1.9])


def views(micro: int = 0) -> list[View]:
    ids = some_ids().roll(micro, 1)
    return [view_of(ids, "causal"), view_of(ids.flip(0) // 2 + 4, "bidirectional", [12, 7])]


def watched(backbone: Backbone, last_layer: bool) -> dict[str, nn.Parameter]:
    inside = {id(parameter) for parameter in backbone.layers[-1].parameters()}
    every = dict(backbone.model.named_parameters())
    return {name: p for name, p in every.items() if id(p) in inside} if last_layer else every


def flat(gradients: tuple[Tensor | None, ...], parameters: dict[str, nn.Parameter]) -> Tensor:
    pairs = zip(gradients, parameters.values(), strict=True)
    return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs])


def by_aliases(backbone: Backbone, store: GradientStore, weights: Tensor, micro: int = 0) -> None:
    name = next(name for name, p in backbone.model.named_parameters() if p is backbone.embedding)
    total = torch.zeros(())
    for index, (view, head, weight) in enumerate(zip(views(micro), HEADS, weights, strict=True)):
        aliases = store.aliases(index)
        [hidden] = backbone.encode([view], aliases)
        total = total + weight * head(hidden, aliases.get(name, backbone.embedding))
    total.backward()


def by_autograd(backbone: Backbone, parameters: dict[str, nn.Parameter], micro: int = 0) -> Tensor:
    """The oracle: a forward and a backward of its own for each objective, `(objectives, parameters)`."""
    rows = []
    for view, head in zip(views(micro), HEADS, strict=True):
        [hidden] = backbone.encode([view])
        loss = head(hidden, backbone.embedding)
        rows.append(flat(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True), parameters))
    return torch.stack(rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("last_layer", [True, False])
def test_bit_equal_to_autograd(family: str, last_layer: bool) -> None:
    backbone = built(family)
    parameters = watched(backbone, last_layer)
    store = GradientStore(parameters, 2)
    by_aliases(backbone, store, torch.ones(2))
    assert torch.equal(store.gradients, by_autograd(backbone, parameters))
    assert store.gradients.abs().sum(1).min() > 0


# Families whose norms compute in the dtype they are given; llama's compute in single precision always.
in_double = pytest.mark.parametrize("family", ["gpt2", "bert"])


@in_double
def test_gradients_go_on_to_the_parameters(family: str) -> None:
    """Oracle: the gradient of the weighted total; what the store sees is its weight times the gradient."""
    backbone = built(family).double()
    parameters = watched(backbone, last_layer=False)
    store = GradientStore(parameters, 2)
    by_aliases(backbone, store, WEIGHTS.double())
    oracle = WEIGHTS.double()[:, None] * by_autograd(backbone, parameters)
    torch.testing.assert_close(store.gradients, oracle, rtol=1e-12, atol=1e-12)
    arrived = flat(tuple(p.grad for p in parameters.values()), parameters)
    torch.testing.assert_close(arrived, oracle.sum(0), rtol=1e-12, atol=1e-12)


@in_double
def test_micro_batches_are_summed(family: str) -> None:
    backbone = built(family).double()
    parameters = watched(backbone, last_layer=True)
    store = GradientStore(parameters, 2)
    for micro in range(3):
        by_aliases(backbone, store, torch.ones(2), micro)
    oracle = sum(by_autograd(backbone, parameters, micro) for micro in range(3))
    torch.testing.assert_close(store.gradients, oracle, rtol=1e-12, atol=1e-12)


@in_double
def test_written_is_the_gradient_of_the_weighted_total(family: str) -> None:
    """Oracle: autograd on Σ w·L."""
    backbone = built(family).double()
    parameters = watched(backbone, last_layer=False)
    store = GradientStore(parameters, 2)
    by_aliases(backbone, store, torch.ones(2))
    store.write(WEIGHTS)
    written = flat(tuple(p.grad for p in parameters.values()), parameters)
    total = sum(
        weight * head(*backbone.encode([view]), backbone.embedding)
        for weight, view, head in zip(WEIGHTS.double(), views(), HEADS, strict=True)
    )
    oracle = flat(torch.autograd.grad(total, list(parameters.values()), allow_unused=True), parameters)
    torch.testing.assert_close(written, oracle, rtol=1e-12, atol=1e-12)


def test_a_parameter_that_no_pass_reached_keeps_no_gradient() -> None:
    reached, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    store = GradientStore({"reached": reached, "other": other}, 1)
    (3 * store.aliases(0)["reached"]).sum().backward()
    store.write(torch.tensor([2.0]))
    assert reached.grad is not None and reached.grad.tolist() == [6, 6]
    assert other.grad is None
    assert store.gradients.tolist() == [[3, 3, 0, 0, 0]]
    assert store.of(["reached"]).tolist() == [[3, 3]]
    assert store.of(["reached", "other"]).data_ptr() == store.gradients.data_ptr()  # no copy


def test_norm_is_of_all_gradients_together() -> None:
    first, second, without = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm([first, second, without]) == 5
    assert gradient_norm([without]) == 0
    second.grad = torch.tensor([0.0, torch.inf])
    assert gradient_norm([first, second]).isinf()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [-1, 0])
def test_one_block_apart_in_a_shared_pass(family: str, number: int) -> None:
    """Oracles: the same pass without it, and `torch.autograd.grad`; a batch of 3 rows rounds as one of 2 does."""
    backbone = built(family)
    names = backbone.layer_parameters(number)
    parameters = {name: dict(backbone.model.named_parameters())[name] for name in names}
    pair = views()
    store = GradientStore(parameters, 2)
    total = torch.zeros(())
    hidden = backbone.encode_split_layer(pair, number, [store.aliases(index) for index in (0, 1)])
    for head, plain, states in zip(HEADS, backbone.encode(pair), hidden, strict=True):
        torch.testing.assert_close(states, plain, rtol=1e-5, atol=1e-5)
        total = total + head(states, backbone.embedding)
    total.backward()
    oracle = by_autograd(backbone, parameters)
    assert torch.linalg.norm(store.gradients - oracle) <= 1e-5 * torch.linalg.norm(oracle)
    assert "forward" not in backbone.layers[number].__dict__
