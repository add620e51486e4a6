"""What the base of balancers does for a subclass: buffers, the state of the absent, precision."""

import jsonargparse
import pytest
import torch
from torch import Tensor

from lm_objectives.balancers import Balancer, StepStatistics

NAMES = ("causal", "masked", "order")
INITIAL = torch.tensor([8.0, 8.0, 0.7], dtype=torch.double)
TWO = torch.tensor([True, True, False])


class Moving(Balancer):
    """State of each kind: for each objective, a count of steps, and a history that is the subclass's own."""

    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.in_place = in_place

    def initial_state(self, losses: Tensor) -> dict[str, Tensor]:
        assert (self.names, self.steps) == (NAMES, 10) and torch.equal(self.initial_losses, losses)
        return {"weight": losses, "steps_seen": torch.zeros(()), "history": torch.zeros(2, 3).to(losses)}

    def update(self, statistics: StepStatistics) -> None:
        self.seen = statistics
        self.steps_seen = self.steps_seen + 1
        self.history = torch.stack([self.history[1], statistics.losses])
        if self.in_place:
            self.weight.copy_(statistics.losses)
        else:
            self.weight = statistics.losses


def built(**arguments: bool) -> Moving:
    balancer = Moving(**arguments)
    balancer.setup(NAMES, INITIAL, 10)
    return balancer


@pytest.mark.parametrize("in_place", [False, True])
def test_an_update_reaches_state_of_the_trained_alone_even_in_place(in_place: bool) -> None:
    balancer = built(in_place=in_place)
    balancer.update(StepStatistics(0, torch.tensor([4.0, 2.0, torch.nan], dtype=torch.double), TWO))
    assert balancer.weights(1).tolist() == [4.0, 2.0, 0.7]
    assert balancer.initial_losses.tolist() == INITIAL.tolist()


def test_state_of_another_shape_is_the_subclasss_own() -> None:
    balancer = built()
    balancer.update(StepStatistics(0, torch.tensor([4.0, 2.0, 9.0]), TWO))
    assert balancer.steps_seen == 1 and balancer.history[1].tolist() == [4.0, 2.0, 9.0]


def test_losses_come_in_the_precision_of_the_state() -> None:
    balancer = built()
    balancer.update(StepStatistics(0, torch.tensor([4.0, 2.0, 1.0], dtype=torch.float), TWO))
    assert balancer.seen.losses.dtype == balancer.weights(1).dtype == torch.double


def test_state_is_saved_and_resumed() -> None:
    balancer, resumed = built(), built()
    balancer.update(StepStatistics(0, torch.tensor([4.0, 2.0, 1.0]), TWO))
    assert set(balancer.state_dict()) == {"initial_losses", "weight", "steps_seen", "history"}
    resumed.load_state_dict(balancer.state_dict())
    assert torch.equal(resumed.weights(1), balancer.weights(1)) and torch.equal(resumed.history, balancer.history)


@pytest.mark.parametrize("cast", [torch.nn.Module.half, torch.nn.Module.bfloat16])
def test_a_model_cast_to_half_leaves_state_as_precise_as_it_was(cast: object) -> None:
    balancer = built()
    balancer.update(StepStatistics(0, torch.tensor([4.0001, 2.0001, 1.0]), TWO))
    before = balancer.weights(1).clone()
    cast(balancer)
    assert balancer.weights(1).dtype == torch.double and torch.equal(balancer.weights(1), before)


def test_an_update_of_a_subclass_of_a_balancer_may_call_its_parents() -> None:
    class Doubled(Moving):
        def update(self, statistics: StepStatistics) -> None:
            super().update(statistics)
            self.weight = self.weight * 2

    balancer = Doubled()
    balancer.setup(NAMES, INITIAL, 10)
    balancer.update(StepStatistics(0, torch.tensor([4.0, 2.0, 9.0]), TWO))
    assert balancer.weights(1).tolist() == [8.0, 4.0, 0.7]


def test_a_balancer_may_consist_of_its_weights() -> None:
    class Equal(Balancer):
        def weights(self, step: int) -> Tensor:
            return torch.ones_like(self.initial_losses)

    balancer = Equal()
    balancer.setup(NAMES, INITIAL, 10)
    assert balancer.update(StepStatistics(0, INITIAL, TWO)) is None
    assert balancer.weights(1).tolist() == [1, 1, 1] and balancer.active(1).tolist() == [True, True, True]


def test_the_base_itself_is_no_balancer() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Balancer()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--balancer", type=Balancer)
    with pytest.raises(jsonargparse.ArgumentError):
        parser.parse_args(["--balancer=Balancer"])


def test_a_balancer_without_weights_is_refused() -> None:
    class Nothing(Balancer):
        def initial_state(self, losses: Tensor) -> dict[str, Tensor]:
            return {"smoothed": losses}

    balancer = Nothing()
    balancer.setup(NAMES, INITIAL, 10)
    with pytest.raises(ValueError, match="Nothing expects weights, found none: return weight from initial_state"):
        balancer.weights(0)
