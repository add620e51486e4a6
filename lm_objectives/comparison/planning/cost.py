"""What a training costs, calculated before it begins, and the optimizer steps that a budget pays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from lm_objectives.comparison.planning.experiment import Experiment
from lm_objectives.data.dataset import RowDataset, RowKey
from lm_objectives.data.plan import ActivityLog, RowPlan
from lm_objectives.errors import expect
from lm_objectives.evaluation.model import hash_weights
from lm_objectives.schedules import points_at_steps
from lm_objectives.training.flops import FlopCounter
from lm_objectives.training.module import Pretraining

_STRETCHES = 64  # parts of a training whose rows are sampled one by one
_ROWS = 16  # of each objective in each part


@dataclass(frozen=True)
class Cost:
    """What so many optimizer steps cost, over all devices.

    Attributes:
        steps: how many.
        flops: model FLOPs, see `training.flops.training_flops`.
        tokens: read, without padding.
        rows: of each objective with rows of its own.
    """

    steps: int
    flops: float
    tokens: float
    rows: dict[str, int]


class CostModel:
    """Calculates the cost of an arm's training of any length.

    How many rows each objective reads is the plan's, exactly, and what a row and a scored position cost is counted by
    a forward pass. What moves over the training, such as a mask rate, is taken from a sample: of each of 64 stretches
    16 rows of each objective, spread evenly, as they are read in its middle. A training of few rows is counted whole.

    Args:
        experiment: the arm's; its module is built here, on the CPU, as a run of that seed would.
        seed: of its weights.

    Attributes:
        parameters: of backbone and heads.
        start: hash of the backbone's first weights.
        is_known: whether it is known beforehand which objectives read when; if not, tokens are as if all did.
    """

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._module, self._data = experiment.module, experiment.data
        self._counter = FlopCounter()
        self._known: dict[int, Cost] = {}
        module, data = self._module, self._data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module.build(data.vocabulary, data.seq_len, steps=1)
        module.train()
        self.parameters = sum(parameter.numel() for parameter in module.parameters())
        self.start = hash_weights(module.backbone)
        self.is_known = module.balancer.knows_activity

    def __call__(self, steps: int) -> Cost:
        """The cost of a training of `steps` steps."""
        if steps not in self._known:
            self._known[steps] = self._cost(steps)
        return self._known[steps]

    def _cost(self, steps: int) -> Cost:
        module, data = self._module, self._data
        module.balancer.restart(steps)
        activity = _activity(self._module, steps)
        plan = RowPlan(module.sources, data.global_batch_size, data.batch_multiple, activity, steps)
        settings = replace(data.settings, steps=steps)
        rows = RowDataset(data.text.training, module.sources, data.vocabulary, settings, "training")
        total = plan.before(steps)
        whole = sum(total.values()) <= _STRETCHES * _ROWS
        flops = tokens = 0.0
        for start, stop in _stretches(settings.seq_len, activity, steps, 1.0 if whole else steps / _STRETCHES):
            first, last = plan.before(start), plan.before(stop)
            for name in first:
                number = last[name] - first[name]
                if number:
                    sample = min(number, number if whole else _ROWS)
                    k = first[name] + (np.arange(sample) * number + number // 2) // sample
                    batch_flops, batch_tokens = self._count(rows, name, k, (start + stop - 1) // 2)
                    flops += batch_flops * number / sample
                    tokens += batch_tokens * number / sample
        return Cost(steps, flops, tokens, total)

    def _count(self, rows: RowDataset, name: str, k: np.ndarray, step: int) -> tuple[int, int]:
        """FLOPs and tokens of training on rows number `k` of an objective."""
        keys = [RowKey(name, int(number), step) for number in k]
        for key in keys[:3]:  # few rows, by which the counter learns what many cost
            self._counter(self._module, rows[key].views)
        batch = rows.__getitems__(keys)
        return self._counter(self._module, batch.views), batch.tokens


def _activity(module: Pretraining, steps: int) -> ActivityLog:
    """Which objectives read, over the whole training; all of them where losses decide that."""
    if not module.balancer.knows_activity:
        return ActivityLog([(0, module.names)])
    log = ActivityLog()
    for step in range(steps):
        active = zip(module.names, module.balancer.active(step).tolist(), strict=True)
        log.append(step, [name for name, reads in active if reads])
    return log


def _stretches(
    seq_len: int | list[list[int | float]], activity: ActivityLog, steps: int, length: float
) -> Iterator[tuple[int, int]]:
    """Stretches of about `length` steps, within which the same objectives read rows of one length."""
    bounds = {0, steps, *(step for step, _ in activity.entries if step < steps)}
    if not isinstance(seq_len, int):
        bounds |= {min(-int(-at // 1), steps) for at, _ in points_at_steps(seq_len, steps, "data.seq_len")}
    for start, stop in pairwise(sorted(bounds)):
        parts = max(round((stop - start) / length), 1)
        yield from pairwise(start + (stop - start) * part // parts for part in range(parts + 1))


def steps_within(budget: float, cost_of: Callable[[int], float], what: str) -> int:
    """The number of steps whose cost is nearest to a budget: at most half a step from it.

    Args:
        budget: above 0.
        cost_of: the cost of so many steps, which rises with them.
        what: the budget in words, for messages.

    Raises:
        InputError: where the budget is less than a step.
    """
    one = cost_of(1)
    expect(one <= 2 * budget, f"a budget of at least one step for {what}, {one:.4g}", f"{budget:.4g}", "raise it")
    low, high = 1, 2  # of which the first costs less than the budget, and the second more
    while cost_of(high) < budget:
        low, high = high, max(round(high * budget / cost_of(high) * 1.02), high + 1)
    while high - low > 1:
        below, above = cost_of(low), cost_of(high)
        guess = low + round((high - low) * (budget - below) / max(above - below, 1e-9))
        middle = min(max(guess, low + 1), high - 1)
        low, high = (middle, high) if cost_of(middle) < budget else (low, middle)
    return low if budget - cost_of(low) < cost_of(high) - budget else high
