"""Schedules against closed forms, torch's own and transformers'."""

import dataclasses
from typing import Any

import jsonargparse
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from lm_objectives.optim import LRSchedule

STEPS = 20


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def factors(steps: int, **settings: Any) -> list[float]:
    return [LRSchedule(**settings).factor(step, steps) for step in range(steps)]


WSD: dict[str, Any] = {"num_training_steps": STEPS}
# Ours, transformers' and its arguments after the optimizer and the warmup.
PEERS: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "constant": ({}, get_constant_schedule_with_warmup, {}),
    "linear": ({}, get_linear_schedule_with_warmup, {"num_training_steps": STEPS}),
    "cosine": ({}, get_cosine_schedule_with_warmup, {"num_training_steps": STEPS}),
    "cosine to a tenth": (
        {"min_lr_ratio": 0.1},
        get_cosine_with_min_lr_schedule_with_warmup,
        {"num_training_steps": STEPS, "min_lr_rate": 0.1},
    ),
    "inverse_sqrt": ({}, get_inverse_sqrt_schedule, {}),
    "wsd": ({"decay_steps": 6}, get_wsd_schedule, WSD | {"num_decay_steps": 6, "decay_type": "linear"}),
    "wsd by a share": ({"decay_steps": 0.2}, get_wsd_schedule, WSD | {"num_decay_steps": 4, "decay_type": "linear"}),
    "wsd as 1-sqrt": (
        {"decay_steps": 6, "decay_type": "1-sqrt"},
        get_wsd_schedule,
        WSD | {"num_decay_steps": 6, "decay_type": "1-sqrt"},
    ),
}


@pytest.mark.parametrize("warmup", [1, 5, 0.25])
@pytest.mark.parametrize("peer", PEERS)
def test_equals_transformers_one_step_ahead(peer: str, warmup: int | float) -> None:
    """Transformers' step t + 1 is ours at t: theirs spends step 0 at rate 0 and stops one short of the end."""
    settings, make, arguments = PEERS[peer]
    whole = warmup if isinstance(warmup, int) else 5
    theirs = make(optimizer(), num_warmup_steps=whole, **arguments)
    expected = [theirs.lr_lambdas[0](step + 1) for step in range(STEPS)]
    kind = peer.split()[0]
    assert factors(STEPS, kind=kind, warmup=warmup, **settings) == pytest.approx(expected, abs=1e-12)


def test_decay_to_a_tenth_equals_transformers() -> None:
    """After the warmup, which transformers starts at the least rate too."""
    theirs = get_wsd_schedule(optimizer(), 4, 6, STEPS, decay_type="1-sqrt", min_lr_ratio=0.1)
    expected = [theirs.lr_lambdas[0](step + 1) for step in range(4, STEPS)]
    ours = factors(STEPS, kind="wsd", warmup=4, decay_steps=6, decay_type="1-sqrt", min_lr_ratio=0.1)
    assert ours[4:] == pytest.approx(expected, abs=1e-12) and ours[-1] == pytest.approx(0.1)


def test_steps_equal_torch() -> None:
    theirs = MultiStepLR(own := optimizer(), [8, 12, 15], gamma=0.3)
    expected = []
    for _ in range(STEPS):
        expected.append(theirs.get_last_lr()[0])
        own.step()
        theirs.step()
    for milestones in ([8, 12, 15], [0.4, 12, 0.75]):
        assert factors(STEPS, kind="step", warmup=0, milestones=milestones, gamma=0.3) == pytest.approx(expected)


def test_inverse_square_root_as_published() -> None:
    """T5 (Raffel et al. 2020, section 3.1.2): 1 / sqrt(max(n, k)); Vaswani et al. 2017, equation 3."""
    t5 = LRSchedule("inverse_sqrt", warmup=0, hold_steps=10_000)
    vaswani = LRSchedule("inverse_sqrt", warmup=4000)
    for step in (1, 2, 3999, 4000, 4001, 9_999, 10_000, 10_001, 40_000, 524_288):
        assert 0.01 * t5.factor(step - 1, -1) == pytest.approx(1 / max(step, 10_000) ** 0.5)
        expected = min(step**-0.5, step * 4000**-1.5) / 4000**-0.5
        assert vaswani.factor(step - 1, -1) == pytest.approx(expected)


def test_literal_factors() -> None:
    """The formulas of the docstring, worked by hand."""
    assert factors(6, kind="linear", warmup=2, min_lr_ratio=0.2) == pytest.approx([0.5, 1, 0.8, 0.6, 0.4, 0.2])
    assert factors(5, kind="linear", warmup=0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert factors(5, kind="cosine", warmup=0, min_lr_ratio=0.5) == pytest.approx(
        [1, 0.926777, 0.75, 0.573223, 0.5], abs=1e-6
    )
    assert factors(4, kind="constant", warmup=0.5) == [0.5, 1, 1, 1]
    assert factors(2, kind="cosine", warmup=4) == [0.25, 0.5]
    assert factors(1, kind="cosine", warmup=0) == [1]
    assert factors(6, kind="wsd", warmup=2, decay_steps=2, min_lr_ratio=0.2) == pytest.approx([0.5, 1, 1, 1, 0.6, 0.2])
    assert factors(6, kind="wsd", warmup=2, decay_steps=4, decay_type="1-sqrt") == pytest.approx(
        [0.5, 1, 0.5, 0.292893, 0.133975, 0], abs=1e-6
    )
    assert factors(3, kind="wsd", warmup=0, decay_steps=0) == [1, 1, 1]
    assert factors(5, kind="step", warmup=2, milestones=[1, 0.6], gamma=0.5) == [0.5, 1, 0.5, 0.25, 0.25]
    assert LRSchedule(min_lr_ratio=0.1).factor(105, 100) == pytest.approx(0.1)
    assert [LRSchedule(kind="constant", warmup=2).factor(step, -1) for step in (0, 1, 10**9)] == [0.5, 1, 1]


def test_scheduler_multiplies_each_groups_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.01)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = LRSchedule(kind="linear", warmup=2).lr_scheduler(optimizer, 4)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert seen == [pytest.approx([factor, 0.01 * factor]) for factor in (0.5, 1, 0.5, 0)]


def test_command_line_tells_steps_from_shares() -> None:
    def read(schedule: LRSchedule) -> LRSchedule:
        return schedule

    for text, expected in (("1", 1), ("0.1", 0.1), ("0", 0)):
        arguments = [f"--schedule.warmup={text}", "--schedule.kind=linear"]
        schedule = jsonargparse.auto_cli(read, args=arguments)
        assert schedule == LRSchedule(kind="linear", warmup=expected)
        assert type(schedule.warmup) is type(expected)
    arguments = ["--schedule.kind=step", "--schedule.milestones=[100, 0.5]"]
    milestones = jsonargparse.auto_cli(read, args=arguments).milestones
    assert [(type(value), value) for value in milestones] == [(int, 100), (float, 0.5)]


def test_a_saved_schedule_is_the_same_again() -> None:
    """As checkpoints and `config.yaml` keep it."""
    for schedule in (
        LRSchedule(),
        LRSchedule("step", milestones=(0.5, 90)),
        LRSchedule("wsd", decay_steps=10, decay_type="1-sqrt"),
    ):
        saved = dataclasses.asdict(schedule)
        assert LRSchedule(**saved) == schedule == LRSchedule(**saved | {"milestones": list(saved["milestones"])})


BAD = [
    ({"warmup": 1.0}, "expected a warmup share in [0, 1), found 1.0: write an int such as 100 to count steps"),
    ({"warmup": float("nan")}, "expected a warmup share in [0, 1), found nan: write an int such as 100 to count steps"),
    ({"warmup": -1}, "expected a warmup of 0 steps or more, found -1: write an int of steps or a share in [0, 1)"),
    ({"warmup": True}, "expected a warmup of 0 steps or more, found True: write an int of steps or a share in [0, 1)"),
    ({"min_lr_ratio": 1.5}, "expected a min_lr_ratio in [0, 1], found 1.5: write a share of the peak learning rate"),
    (
        {"kind": "step", "milestones": (0.5,), "gamma": 0.0},
        "expected a gamma in (0, 1], found 0.0: 0.1 divides the rate by ten",
    ),
    ({"kind": "step"}, "expected milestones for a step schedule, found none: write for example [0.5, 0.75]"),
    (
        {"kind": "step", "milestones": (1.5,)},
        "expected a milestones share in [0, 1), found 1.5: write an int such as 100 to count steps",
    ),
    (
        {"kind": "constant", "min_lr_ratio": 0.1},
        "expected no min_lr_ratio in a constant schedule, found 0.1: leave it out, or choose kind=linear or cosine or "
        "wsd",
    ),
    (
        {"kind": "cosine", "hold_steps": 9},
        "expected no hold_steps in a cosine schedule, found 9: leave it out, or choose kind=inverse_sqrt",
    ),
    (
        {"kind": "wsd", "milestones": (3,)},
        "expected no milestones in a wsd schedule, found (3,): leave it out, or choose kind=step",
    ),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        LRSchedule(**settings)
    assert str(caught.value) == message


def test_bad_kind() -> None:
    """Set behind the constructor's back, since the type checker of the tests would speak first."""
    schedule = LRSchedule()
    object.__setattr__(schedule, "kind", "stepp")
    with pytest.raises(ValueError) as caught:
        schedule.__post_init__()
    assert str(caught.value) == (
        "expected a kind among constant, linear, cosine, inverse_sqrt, step, wsd, found stepp: choose one of them"
    )


ENDLESS = [
    ({"warmup": 2}, "expected an end of training for a cosine decay, found none: set max_steps or kind=constant"),
    (
        {"kind": "constant", "warmup": 0.05},
        "expected an end of training for a warmup share of 0.05, found none: "
        "set max_steps or write warmup as an int of steps",
    ),
    (
        {"kind": "step", "warmup": 0, "milestones": (0.5,)},
        "expected an end of training for a milestones share of 0.5, found none: "
        "set max_steps or write milestones as an int of steps",
    ),
]


@pytest.mark.parametrize(("settings", "message"), ENDLESS)
def test_training_without_end(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        LRSchedule(**settings).lr_scheduler(optimizer(), -1)
    assert str(caught.value) == message


UNFIT = [
    (
        {"kind": "wsd", "warmup": 4, "decay_steps": 17},
        "expected a warmup and a decay within the training's 20 steps, found 4 and 17: shorten one of them",
    ),
    (
        {"kind": "step", "milestones": (0.5, 10)},
        "expected each of the milestones later than the one before, found steps [10, 10]: sort them",
    ),
]


@pytest.mark.parametrize(("settings", "message"), UNFIT)
def test_training_too_short(settings: dict[str, Any], message: str) -> None:
    """Told at step 0, during the warmup."""
    with pytest.raises(ValueError) as caught:
        LRSchedule(**settings).factor(0, STEPS)
    assert str(caught.value) == message
