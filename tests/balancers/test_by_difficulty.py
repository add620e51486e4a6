"""`ByDifficulty` against loss curves whose flattening is known."""

import pytest
import torch

from lm_objectives.balancers import ByDifficulty, StepStatistics

NAMES = ("causal", "masked", "order")


def built(**arguments: object) -> ByDifficulty:
    pace = ByDifficulty(**{"order": list(NAMES)} | arguments)
    pace.setup(NAMES, torch.tensor([8.0, 8.0, 0.7], dtype=torch.double), 1000)
    return pace


def tell(pace: ByDifficulty, step: int, *losses: float) -> None:
    """A step in which just those that are in had rows."""
    pace.update(StepStatistics(step, torch.tensor(losses, dtype=torch.double), pace.factors(step) > 0))


def members(pace: ByDifficulty) -> list[float]:
    return pace.factors(0).tolist()


def test_a_target_lets_the_next_one_in_and_later_rises_do_not_throw_it_out() -> None:
    pace = built(target_loss={"causal": 4.0}, smoothing=0.0)
    for step, loss in enumerate([8.0, 6.0, 4.1]):
        tell(pace, step, loss, 1.0, 1.0)
        assert members(pace) == [1, 0, 0]
    tell(pace, 3, 4.0, 1.0, 1.0)
    assert members(pace) == [1, 1, 0]
    tell(pace, 4, 9.0, 9.0, 9.0)
    assert members(pace) == [1, 1, 0]


def test_a_loss_is_flat_when_it_falls_by_less_than_its_share_in_a_window() -> None:
    pace = built(plateau_tolerance=0.1, window=2, smoothing=0.0)
    for step, loss in enumerate([8.0, 8.0, 8.0, 7.0, 8.0, 6.2, 8.0]):  # looks read 8, 7, 6.2: falls of 12.5 %, 11.4 %
        tell(pace, step, loss, 1.0, 1.0)
        assert members(pace) == [1, 0, 0]
    tell(pace, 7, 5.7, 1.0, 1.0)  # a fall of 8.1 %
    assert members(pace) == [1, 1, 0]


def test_the_average_is_corrected_for_its_start() -> None:
    pace = built(target_loss={"causal": 4.0}, smoothing=0.9)
    tell(pace, 0, 8.0, 1.0, 1.0)  # uncorrected it would read .8 and pass at once
    assert members(pace) == [1, 0, 0]


def test_the_order_is_by_name_and_each_waits_for_all_before_it() -> None:
    pace = built(order=["order", "causal", "masked"], target_loss=dict.fromkeys(NAMES, 0.5), smoothing=0.0)
    assert members(pace) == [0, 0, 1]
    tell(pace, 0, 0.1, 0.1, 0.4)  # the first two are absent: what they report means nothing
    assert members(pace) == [1, 0, 1]
    tell(pace, 1, 0.4, 0.1, 0.4)
    assert members(pace) == [1, 1, 1]


def test_the_running_average_survives_a_cast_to_half() -> None:
    pace = built(smoothing=0.5)
    tell(pace, 0, 8.001, 1.0, 1.0)
    before = pace.smoothed.clone()
    pace.half()
    assert torch.equal(pace.smoothed.double(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plateau_tolerance": -0.1}, "a plateau_tolerance of at least 0, found -0.1"),
        ({"window": 0}, "a window of at least 1 step, found 0"),
        ({"smoothing": 1.0}, "a smoothing from 0 to below 1, found 1.0"),
        ({"target_loss": {"span": 1.0}}, "among causal, masked, order, found span: correct the name"),
        ({"order": ["causal"]}, "an order of causal, masked, order, found causal: name each objective once"),
    ],
)
def test_bad_arguments_are_one_clear_line(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**arguments)
