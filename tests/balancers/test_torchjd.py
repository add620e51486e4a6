"""`TorchJD` against TorchJD itself, called by hand."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from utils.balancer_cases import INITIAL, NAMES, totals

torchjd = pytest.importorskip("torchjd")

from torchjd import aggregation  # noqa: E402 (after the skip)

from lm_objectives.balancers import StepStatistics, TorchJD  # noqa: E402

ARGUMENTS: dict[str, dict[str, Any]] = {
    "CAGrad": {"c": 0.5},
    "Constant": {"weights": {"order": 3.0, "causal": 1.0, "masked": 2.0}},
    "FairGrad": {"alpha": 1.0},
    "Krum": {"n_byzantine": 0},
}
PRIMARY = {"PCD": "causal"}
GRAMIAN = ("AlignedMTL", "CAGrad", "DualProj", "FairGrad", "IMTLG", "MGDA", "PCD", "UPGrad", "Krum")
ALL = torch.ones(3, dtype=torch.bool)


def built(weighting: str, **arguments: Any) -> TorchJD:
    balancer = TorchJD(weighting, ARGUMENTS.get(weighting), primary=PRIMARY.get(weighting), **arguments)
    balancer.setup(NAMES, INITIAL, 40)
    return balancer


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if the package, and what is inside it, were not installed."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("name", GRAMIAN)
def test_weights_are_those_of_torchjd(name: str) -> None:
    told = totals(0)
    weighting = getattr(aggregation, name + "Weighting")(**ARGUMENTS.get(name, {}))
    torch.testing.assert_close(built(name).update(told), weighting(told.gradients @ told.gradients.T))


@pytest.mark.parametrize("name", ["ExcessMTL", "NashMTL", "Mean", "Sum", "Constant", "Random", "GradVac", "PCGrad"])
def test_every_other_weighting_gives_finite_weights_while_the_pass_stays_unweighted(name: str) -> None:
    balancer = built(name)
    weights = balancer.update(totals(0))
    assert weights.isfinite().all() and weights.any()
    assert balancer.weights(1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("spelling", ["IMTL-G", "imtlg", "imtl_g", "IMTLGWeighting"])
def test_spelling_is_forgiven(spelling: str) -> None:
    assert TorchJD(spelling).kind is aggregation.IMTLG


@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "CAGrad", "MGDA", "AlignedMTL", "IMTLG"])
def test_small_gradients_are_weighed_as_large_ones(name: str) -> None:
    """Left to itself TorchJD takes a Gramian of trace below 1e-4 for zero, and CAGrad then stops the training."""
    told = totals(0)
    small = StepStatistics(0, told.losses, told.trained, told.gradients * 1e-5)
    torch.testing.assert_close(built(name).update(small), built(name).update(told))


@pytest.mark.parametrize("name", ["PCGrad", "GradVac", "Random"])
def test_random_draws_depend_on_seed_and_step_alone(name: str) -> None:
    torch.manual_seed(0)
    first = built(name).update(totals(0))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(built(name).update(totals(0)), first)
    assert torch.equal(torch.rand(1), expected)


def test_another_step_and_another_seed_draw_anew() -> None:
    def drawn(step: int, seed: int) -> Tensor:
        return built("Random", seed=seed).update(totals(step))

    assert not torch.equal(drawn(0, 0), drawn(1, 0))
    assert not torch.equal(drawn(0, 0), drawn(0, 1))


def test_the_absent_weigh_nothing_and_take_no_part() -> None:
    told = totals(0)
    here = torch.tensor([True, False, True])
    gradients = told.gradients.masked_fill(~here[:, None], torch.nan)
    weights = built("UPGrad").update(StepStatistics(0, told.losses, here, gradients))
    pair = told.gradients[here]
    torch.testing.assert_close(weights[here], aggregation.UPGradWeighting()(pair @ pair.T))
    assert weights[1] == 0


def test_numbers_for_each_objective_go_by_name_and_those_of_the_absent_are_lost() -> None:
    balancer = built("Constant")
    assert balancer.update(totals(0)).tolist() == [1, 2, 3]
    assert balancer.update(totals(1, torch.tensor([True, False, True]))).tolist() == [1, 0, 3]
    with pytest.raises(ValueError, match="a number for each of causal, masked, order, found some for order: name just"):
        TorchJD("UPGrad", {"pref_vector": {"order": 1.0}}).setup(NAMES, INITIAL, 40)


@pytest.mark.parametrize("primary", NAMES)
def test_pcd_serves_the_objective_that_is_named(primary: str) -> None:
    """Oracle: TorchJD on the Gramian with that objective first."""
    told = totals(0)
    order = sorted(range(3), key=lambda index: NAMES[index] != primary)
    balancer = TorchJD("PCD", primary=primary)
    balancer.setup(NAMES, INITIAL, 40)
    first = told.gradients[order]
    expected = aggregation.PCDWeighting()(first @ first.T)
    torch.testing.assert_close(balancer.update(told)[order], expected)


@pytest.mark.parametrize(("weighting", "primary"), [("PCD", None), ("PCD", "span"), ("UPGrad", "span")])
def test_a_primary_objective_that_is_none_is_one_clear_line(weighting: str, primary: str | None) -> None:
    message = f"a primary objective among causal, masked, order, found {primary or 'none'}: set primary"
    with pytest.raises(ValueError, match=message):
        TorchJD(weighting, primary=primary).setup(NAMES, INITIAL, 40)


@pytest.mark.parametrize("name", ["NashMTL", "GradVac", "PCD", "ExcessMTL"])
def test_a_stateful_weighting_starts_afresh_with_other_members(name: str) -> None:
    two = torch.tensor([True, True, False])
    balancer, fresh = built(name), built(name)
    for step in range(3):
        balancer.update(totals(step, two))
    assert torch.equal(balancer.update(totals(3)), fresh.update(totals(3)))
    assert not torch.equal(balancer.update(totals(4)), built(name).update(totals(4)))


@pytest.mark.parametrize("name", ["NashMTL", "GradVac", "PCD", "ExcessMTL"])
def test_memory_is_saved_as_plain_data(name: str, tmp_path: Any) -> None:
    balancer = built(name)
    for step in range(3):
        balancer.update(totals(step))
    torch.save(balancer.state_dict(), tmp_path / "state.pt")
    resumed = built(name)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.state_dict()["_extra_state"]["memory"].keys() == balancer.get_extra_state()["memory"].keys()
    for step in range(3, 6):
        assert torch.equal(resumed.update(totals(step)), balancer.update(totals(step)))


def test_the_gramian_is_exact_for_single_precision_gradients() -> None:
    told = totals(0)
    single = told.gradients.float()
    weights = built("UPGrad").update(StepStatistics(0, told.losses, ALL, single))
    exact = aggregation.UPGradWeighting()(single.double() @ single.double().T)
    torch.testing.assert_close(weights, exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("weighting", "arguments", "message"),
    [
        ("GradientMagic", None, "a weighting among AlignedMTL, CAGrad, .*found GradientMagic: correct the name"),
        ("MoDo", None, "found MoDo: correct the name"),
        ("CAGrad", None, "arguments of CAGrad among c, norm_eps, found none: add c"),
        ("MGDA", {"speed": 1}, "arguments of MGDA among epsilon, max_iters, found speed: leave speed out"),
        ("NashMTL", {"n_tasks": 3}, "found n_tasks: leave n_tasks out"),
        ("CAGrad", {"c": -1.0}, "c must be non-negative"),
        ("UPGrad", {"pref_vector": [1.0, 2.0]}, r"pref_vector by the objectives' names, found \[1.0, 2.0\]: write"),
    ],
)
def test_bad_arguments_are_one_clear_line(weighting: str, arguments: dict | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TorchJD(weighting, arguments)
    assert "\n" not in str(caught.value)


def test_without_torchjd_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torchjd")
    with pytest.raises(ValueError, match=r'found none: install it with pip install "lm-objectives\[torchjd\]"'):
        TorchJD()


def test_a_weighting_without_its_own_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation.CAGradWeighting, "_REQUIRED_DEPS", ["a_solver_that_is_nowhere"])
    with pytest.raises(ValueError, match=r'packages of CAGrad, .*pip install "torchjd\[cagrad\]"'):
        TorchJD("CAGrad", {"c": 0.5})


def test_it_says_when_it_gets_no_gradients() -> None:
    with pytest.raises(ValueError, match="gradients over all layers, found none"):
        built("UPGrad").update(StepStatistics(0, INITIAL, ALL))
