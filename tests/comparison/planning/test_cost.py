"""What a training costs beforehand, against what torch and the training itself count over whole runs."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from utils.command_line import fit, table

from lm_objectives.cli.experiments import READER
from lm_objectives.comparison.planning.cost import CostModel, steps_within
from lm_objectives.errors import InputError
from lm_objectives.training.flops import FlopCounter

_RAMP = "--model.objectives.masked.mask_rate=[[0.0, 0.5], [0.75, 0.1]]"
CASES: dict[str, list[str]] = {
    "three objectives": [],
    "a mask rate that falls": [_RAMP],
    "shares that move": ["--model.objectives.order.share=[[0.0, 0.0], [1.0, 2.0]]"],
    "a guest's view": ["--model.objectives.masked.shares_rows_with=order", _RAMP],
    "a generator, whose sampling has no backward pass": ["--model.objectives.replaced=ReplacedToken"],
    "an objective that begins later": [
        "--model.balancer=Curriculum",
        "--model.balancer.pace=Stages",
        "--model.balancer.pace.points={order: [[0.5, 0.0], [0.5001, 1.0]]}",
    ],
    "rows that grow": ["--data.seq_len=[[0.0, 16], [0.5, 32]]"],
    "a weight of 0": ["--model.balancer=Fixed", "--model.balancer.weights={causal: 1, masked: 0, order: 1}"],
}
CHANGING = ("shares that move", "an objective that begins later", "rows that grow")  # whose steps cost unequally


def cost_model(place: Path, arguments: Sequence[str]) -> CostModel:
    return CostModel(READER.open(READER.read(["--config", str(place / "tiny.yaml"), *arguments])), seed=0)


@pytest.mark.parametrize("case", CASES)
def test_a_short_training_is_what_torch_counts_over_it(
    case: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: FlopCounterMode over all forward and backward passes of a run, attention as plain products."""
    steps = 8
    cost = cost_model(place, CASES[case])(steps)
    monkeypatch.setattr(FlopCounter, "__call__", lambda *_: 0)  # which runs forward passes of its own
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        assert fit(place, tmp_path, *CASES[case], "--trainer.max_steps", steps, "--trainer.limit_val_batches", 0) == 0
    assert cost.flops == counter.get_total_flops()
    assert cost.tokens == float(table(tmp_path)[-1]["train/tokens"])


@pytest.mark.slow
@pytest.mark.parametrize("case", CHANGING)
def test_a_budget_is_met_to_half_a_step(case: str, place: Path, tmp_path: Path) -> None:
    """Oracle: the FLOPs that the run itself counts; its rows are sampled beforehand, and here in two micro-batches."""
    model = cost_model(place, CASES[case])
    budget = model(150).flops * 1.003
    steps = steps_within(budget, lambda n: model(n).flops, "it")
    more = ["--trainer.max_steps", steps, "--trainer.limit_val_batches", 0, "--trainer.accumulate_grad_batches", 2]
    assert fit(place, tmp_path, *CASES[case], *more, "--trainer.log_every_n_steps", 1) == 0
    flops = [float(row["train/flops"]) for row in table(tmp_path)]
    assert abs(flops[-1] - budget) <= max(flops[-1] - flops[-2], flops[-1] / steps) / 2


@pytest.mark.slow
def test_two_ranks_do_what_one_does(place: Path, tmp_path: Path) -> None:
    """Oracle: the FLOPs that the first of two processes logs for both."""
    arguments = CASES["a mask rate that falls"]
    cost = cost_model(place, arguments)(40)
    ranks = ["--trainer.devices", 2, "--trainer.strategy", "ddp_spawn", "--trainer.max_steps", 40]
    assert fit(place, tmp_path, *arguments, *ranks, "--trainer.limit_val_batches", 0) == 0
    assert abs(float(table(tmp_path)[-1]["train/flops"]) - cost.flops) <= cost.flops / 40 / 2


def test_steps_of_a_budget() -> None:
    """Oracle: the definition, at most half a step off; steps of other costs."""
    costs = [7.0, 5.0, 1.0, 1.0, 9.0, 3.0, 4.0, 4.0, 2.0, 8.0] * 20
    for budget in (4.0, 7.0, 12.0, 13.2, 44.0, 300.5, 700.0):
        steps = steps_within(budget, lambda n: sum(costs[:n]), "it")
        assert abs(sum(costs[:steps]) - budget) <= max(sum(costs[:steps]) / steps, max(costs)) / 2


def test_less_than_half_a_step_is_refused() -> None:
    with pytest.raises(InputError, match="expected a budget of at least one step for arm a, in FLOPs, 10, found 4: "):
        steps_within(4.0, lambda n: 10.0 * n, "arm a, in FLOPs")


def test_losses_that_decide_who_reads_are_known_of(place: Path) -> None:
    known = cost_model(place, CASES["an objective that begins later"])
    by_losses = ["--model.balancer=Curriculum", "--model.balancer.pace=ByDifficulty"]
    unknown = cost_model(place, [*by_losses, "--model.balancer.pace.order=[causal, masked, order]"])
    assert known.is_known and not unknown.is_known
