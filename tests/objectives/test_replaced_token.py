"""ELECTRA: a generator that samples, and a discriminator over every token."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import BinaryF1Score
from utils import tiny

from lm_objectives.objectives import ReplacedToken
from lm_objectives.views import View


def generator_logits(objective: ReplacedToken, view: View, embedding: Tensor) -> Tensor:
    """The generator on every position, `(rows, time, vocab)`."""
    embedded = objective.project_in(embedding[view.input_ids])
    [hidden] = objective.generator.encode([view], embedded=embedded)
    return objective.transform(hidden) @ embedding.T + objective.bias


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
def test_is_the_formula(family: str) -> None:
    """Oracle: log softmax over whole logits and torch's binary cross-entropy, in double precision, with gradients."""
    on = tiny.backbone(family).double()
    objective = ReplacedToken(0.3)
    tiny.built(objective, on).double()
    view = tiny.view(objective)
    completed = objective.fill_in(view, on.embedding_parameters())
    rows, positions = view.label_positions // tiny.WINDOW, view.label_positions % tiny.WINDOW
    surprise = -generator_logits(objective, view, on.embedding).log_softmax(-1)
    clean = torch.from_numpy(tiny.rows().input_ids)
    [hidden] = on.encode([replace(completed, extra={})])
    real = torch.arange(tiny.WINDOW) < view.lengths[:, None]
    chances = objective.classifier(F.gelu(objective.dense(hidden)))[..., 0].sigmoid()[real]
    replaced = (completed.input_ids != clean)[real].double()
    oracle = {
        "generator": surprise[rows, positions, clean[rows, positions]].sum(),
        "discriminator": F.binary_cross_entropy(chances, replaced, reduction="sum"),
    }
    assert len(chances) == view.counts["discriminator"] > 0
    assert 0 < replaced.sum() <= view.counts["generator"]
    ours = tiny.loss_sums(objective, on, view)
    for part, total in oracle.items():
        torch.testing.assert_close(ours[part], total, rtol=1e-10, atol=1e-10)
        tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
        found = tiny.gradients(ours[part], on, objective)
        for own, other in zip(found, tiny.gradients(total, on, objective), strict=True):
            torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


def test_total_is_generator_plus_fifty_discriminators() -> None:
    """Oracle: λ = 50 (Clark et al. 2020, section 2); a fresh model knows nothing, ln V + 50 ln 2."""
    objective = ReplacedToken()
    assert objective.loss_weights == {"generator": 1.0, "discriminator": 50.0}
    assert ReplacedToken(discriminator_factor=10.0).loss_weights["discriminator"] == 10
    assert ReplacedToken().loss_weights["discriminator"] == 50
    tiny.built(objective, tiny.backbone("bert", 30522))
    assert objective.initial_loss() == pytest.approx(10.3262 + 50 * math.log(2), abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_samples_follow_the_generators_softmax(family: str) -> None:
    """Oracle: with a regular grid of n numbers each token comes n·p times, up to two."""
    on = tiny.backbone(family).eval()
    objective = tiny.built(ReplacedToken(), on)
    with torch.no_grad():
        objective.bias.normal_(std=2)
    view = tiny.view(objective, 1)
    many, first = 4000, int(view.label_positions[0])
    assert view.token_type_ids is not None
    repeated = View(
        input_ids=view.input_ids.repeat(many, 1),
        lengths=view.lengths.expand(many),
        attention=view.attention,
        label_positions=torch.arange(many) * tiny.WINDOW + first,
        targets=view.targets[:1].expand(many),
        counts={"generator": many, "discriminator": 1},
        padded=view.padded,
        token_type_ids=view.token_type_ids.repeat(many, 1),
        sampling_noise=(torch.arange(many) + 0.5) / many,
    )
    with torch.no_grad():
        samples = objective.fill_in(repeated, on.embedding_parameters()).input_ids[:, first]
        chances = generator_logits(objective, view, on.embedding)[0, first].softmax(0)
    assert chances.max() > 0.1
    assert (torch.bincount(samples, minlength=67) - many * chances).abs().max() < 2


def test_a_sample_that_is_the_original_counts_as_original() -> None:
    """Oracle: labels tell where the filled row differs from the text."""
    on = tiny.backbone("bert")
    objective = tiny.built(ReplacedToken(0.5), on)
    clean = torch.from_numpy(tiny.rows(40).input_ids)
    view = tiny.view(objective, 40)
    completed = objective.fill_in(view, on.embedding_parameters())
    assert torch.equal(completed.extra["labels"], (completed.input_ids != clean).long())
    with torch.no_grad():
        objective.bias[view.targets[0]] = 100.0
    certain = objective.fill_in(view, on.embedding_parameters())
    same = clean.flatten()[view.label_positions] == view.targets[0]
    assert same.any() and not same.all()
    assert torch.equal(certain.extra["labels"].flatten()[view.label_positions], (~same).long())
    assert (certain.input_ids.flatten()[view.label_positions] == view.targets[0]).all()


def test_masked_positions_are_filled_and_no_other() -> None:
    on = tiny.backbone("bert")
    objective = tiny.built(ReplacedToken(0.5), on)
    view = tiny.view(objective, 40)
    completed = objective.fill_in(view, on.embedding_parameters())
    elsewhere = torch.ones(view.input_ids.numel(), dtype=torch.bool).index_fill(0, view.label_positions, False)
    assert torch.equal(completed.input_ids.flatten()[elsewhere], view.input_ids.flatten()[elsewhere])
    assert torch.equal(objective.fill_in(view, on.embedding_parameters()).input_ids, completed.input_ids)


def test_discriminator_sends_no_gradient_through_the_samples() -> None:
    on = tiny.backbone("llama")
    objective = tiny.built(ReplacedToken(), on)
    sums = tiny.loss_sums(objective, on, tiny.view(objective))
    sums["discriminator"].backward()
    owned = {key for key, parameter in objective.named_parameters() if parameter.grad is not None}
    assert owned == {"dense.weight", "dense.bias", "classifier.weight", "classifier.bias"}


def test_generator_learns_and_reads_the_shared_embedding() -> None:
    on = tiny.backbone("llama")
    objective = tiny.built(ReplacedToken(), on)
    tiny.loss_sums(objective, on, tiny.view(objective))["generator"].backward()
    reached = {key for key, parameter in on.model.named_parameters() if parameter.grad is not None}
    assert reached == {"embed_tokens.weight"}
    shapes = {key: tuple(value.shape) for key, value in objective.state_dict().items() if 67 in value.shape}
    assert shapes == {"bias": (67,)}


@pytest.mark.parametrize(("fraction", "width"), [(0.25, 8), (0.5, 16), (1.0, 32)])
def test_generator_is_narrower(fraction: float, width: int) -> None:
    objective = tiny.built(ReplacedToken(generator=fraction), tiny.backbone("bert"))
    assert isinstance(objective, ReplacedToken)
    assert objective.generator.dim == width


def test_baselines_are_the_best_constants() -> None:
    """Oracle: of 4 real tokens one is replaced: accuracy 3/4, entropy of a coin of 1/4 = 0.562335 nats, F1 of always
    answering yes by torchmetrics, 0 by always answering no; the whole loss is ln 67 + 50 x the entropy where no masked
    token was counted.
    """
    on = tiny.backbone("bert")
    objective = tiny.built(ReplacedToken(), on).eval()
    masked = torch.tensor([1])
    ids = torch.tensor([[1, 5, 6, 2, 0, 0]])
    extra = {"generator": torch.zeros(()), "labels": torch.tensor([[0, 1, 0, 0, 0, 0]])}
    view = View(ids, torch.tensor([4]), "bidirectional", masked, masked, {}, True, extra=extra)
    observed, metrics = (
        objective.compute_loss(*on.encode([view]), view, on.embedding).metric_inputs,
        objective.metrics(),
    )
    for name in ("always_original", "always_replaced", "base_rate", "constant"):
        metrics[name].update(*observed[name])
    assert metrics["always_original"].compute().item() == pytest.approx(0.75)
    assert metrics["base_rate"].compute().item() == pytest.approx(0.562335, abs=1e-6)
    labels = torch.tensor([0, 1, 0, 0])
    constants = [BinaryF1Score()(torch.full((4,), answer), labels).item() for answer in (0.0, 1.0)]
    assert [0.0, metrics["always_replaced"].compute().item()] == pytest.approx(constants)
    assert metrics["constant"].compute().item() == pytest.approx(math.log(67) + 50 * 0.562335, abs=1e-4)
    metrics["constant"].reset()
    metrics["constant"].update(masked, torch.tensor([0, 1]))
    assert metrics["constant"].compute().item() == pytest.approx(math.log(67) + 50 * math.log(2), abs=1e-4)
    assert len(observed["auc"][0]) == 4


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5])
def test_width_outside_is_one_clear_line(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected a generator width above 0 and at most 1, found {fraction}: ELEC"):
        ReplacedToken(generator=fraction)


def test_negative_factor_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError, match=r"^expected a discriminator_factor of at least 0, found -1\.0: 50 is ELECTRA's"
    ):
        ReplacedToken(discriminator_factor=-1.0)
