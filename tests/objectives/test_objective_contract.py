"""What all objectives share, on a decoder and on an encoder."""

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from utils import tiny

from lm_objectives.corruptions.span_lengths import NGram
from lm_objectives.objectives import CausalLM, MaskedLM, NextSentence, Objective, PrefixLM, ReplacedToken, SentenceOrder

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "previous": lambda: MaskedLM(0.3, predict_from="previous"),
    "ngram": lambda: MaskedLM(lengths=NGram()),
    "next": NextSentence,
    "absolute difference": lambda: NextSentence(pooling="absolute_difference"),
    "order": SentenceOrder,
    "difference": lambda: SentenceOrder(pooling="difference"),
    "prefix": PrefixLM,
    "replaced": ReplacedToken,
}
each = pytest.mark.parametrize("name", OBJECTIVES)
everywhere = pytest.mark.parametrize("family", tiny.CONFIGS)


@each
@everywhere
def test_every_parameter_gets_a_gradient(name: str, family: str) -> None:
    """Oracle: autograd. DDP crashes on a parameter that no loss reaches."""
    on = tiny.backbone(family)
    objective = tiny.built(OBJECTIVES[name](), on)
    tiny.loss(objective, on, tiny.view(objective)).backward()
    for owner in (objective, on):
        assert [key for key, parameter in owner.named_parameters() if parameter.grad is None] == []


@each
@everywhere
def test_embedding_is_not_registered_twice(name: str, family: str) -> None:
    on = tiny.backbone(family)
    objective = tiny.built(OBJECTIVES[name](), on)
    storages = {parameter.data_ptr() for parameter in on.parameters()}
    assert not storages & {parameter.data_ptr() for parameter in objective.parameters()}
    assert not any("embed" in key and 67 in value.shape for key, value in objective.state_dict().items())
    assert not any("count" in key for key in objective.state_dict())


@each
@everywhere
def test_what_padding_holds_changes_nothing(name: str, family: str) -> None:
    on = tiny.backbone(family)
    objective = tiny.built(OBJECTIVES[name](), on)
    view = tiny.view(objective, 20)
    assert view.padded
    other = view.input_ids.clone()
    other[torch.arange(tiny.WINDOW) >= view.lengths[:, None]] = 9
    found = [tiny.loss_sums(objective, on, of) for of in (view, replace(view, input_ids=other))]
    assert found[0] == found[1]


@each
@everywhere
def test_sums_are_over_rows(name: str, family: str) -> None:
    """Oracle: the sum over single rows; nobody takes a mean."""
    on = tiny.backbone(family).double()
    objective = tiny.built(OBJECTIVES[name](), on).double()
    rows = tiny.rows(5)
    whole = objective.corruption.corrupt(rows, tiny.vocabulary())
    parts = []
    for row in range(5):
        arrays = {
            key: getattr(rows, key)[[row]] for key in ("keys", "input_ids", "lengths", "token_type_ids", "labels")
        }
        parts.append(objective.corruption.corrupt(replace(rows, **arrays), tiny.vocabulary()))
    sums = tiny.loss_sums(objective, on, whole)
    assert set(sums) == set(objective.loss_weights) == set(whole.counts)
    for part, total in sums.items():
        singles = [tiny.loss_sums(objective, on, view)[part] for view in parts]
        # llama's norms compute in single precision whatever they are given
        torch.testing.assert_close(total, torch.stack(singles).sum(), rtol=1e-6, atol=1e-6)
        assert whole.counts[part] == sum(view.counts[part] for view in parts)


@each
@everywhere
def test_fresh_model_is_near_its_initial_loss(name: str, family: str) -> None:
    """Oracle: the loss of knowing nothing. Logits of a fresh model spread by σ, which adds about σ²/2 < 0.02 nats."""
    on = tiny.backbone(family)
    objective = tiny.built(OBJECTIVES[name](), on)
    factor = sum(objective.loss_weights.values())
    assert tiny.loss(objective, on, tiny.view(objective, 200)).item() == pytest.approx(
        objective.initial_loss(), abs=0.03 * factor
    )


@each
@everywhere
def test_observations_are_what_the_metrics_take(name: str, family: str) -> None:
    on = tiny.backbone(family)
    objective = OBJECTIVES[name]()
    view = tiny.view(objective, 40)
    objective.target_counts = view.targets.bincount()
    tiny.built(objective, on)
    completed = objective.fill_in(view, on.embedding_parameters())
    [hidden] = on.encode([completed])
    assert not objective.compute_loss(hidden, completed, on.embedding).metric_inputs
    objective.eval()
    observed = objective.compute_loss(hidden, completed, on.embedding).metric_inputs
    metrics = objective.metrics()
    assert set(observed) == set(metrics)
    for key, metric in metrics.items():
        metric.update(*observed[key])
        value = metric.compute().item()
        if key == "perplexity":  # exp of the nats per scored position
            sums = objective.compute_loss(hidden, completed, on.embedding).loss_sums
            assert value == pytest.approx(float((sums["loss"] / view.counts["loss"]).exp()), rel=1e-4)
        else:
            assert 0 <= value < (10 if key != "constant" else objective.initial_loss())
    named = {*metrics, *objective.baselines(), *objective.loss_weights, "loss"}
    for key, beside in objective.baseline_names.items():
        assert {key, *(mark for mark in beside if isinstance(mark, str))} <= named


@each
def test_corruption_is_plain_data(name: str) -> None:
    corruption = OBJECTIVES[name]().corruption
    assert type(pickle.loads(pickle.dumps(corruption))) is type(corruption)
    assert not isinstance(corruption, torch.nn.Module)


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_share_is_above_zero(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected a share above 0, found {share}: leave an objective out"):
        CausalLM(share=share)
