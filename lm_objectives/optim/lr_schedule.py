"""Learning rate schedules: a linear warmup, then one of the published decays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lm_objectives.errors import InputError, expect
from lm_objectives.plugin import plain_fields

Kind = Literal["constant", "linear", "cosine", "inverse_sqrt", "step", "wsd"]


DecayType = Literal["linear", "1-sqrt"]

_SETTINGS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("min_lr_ratio",),
    "cosine": ("min_lr_ratio",),
    "inverse_sqrt": ("hold_steps",),
    "step": ("milestones", "gamma"),
    "wsd": ("min_lr_ratio", "decay_steps", "decay_type"),
}
"""Settings of a kind besides `warmup`."""


@dataclass(frozen=True)
class LRSchedule:
    """The learning rate over training, as a factor of its peak: a linear warmup, then the decay of `kind`.

    With W steps of warmup, at least 1, in N steps, counted from 0: f(t) = (t + 1) / W where t < W, and then

        constant       1
        linear         1 - (1 - m) · p                       p = (t + 1 - W) / (N - W), the way from peak to end
        cosine         1 - (1 - m) · (1 - cos(π p)) / 2      m = min_lr_ratio
        inverse_sqrt   √(K / max(t + 1, K))                  K = max(W, hold_steps)
        step           gamma^n                               n of the milestones are at t or before
        wsd            1 - (1 - m) · q or √q                 q = max(t + 1 - (N - D), 0) / D, D = decay_steps

    so that step W - 1 runs at the peak and step N - 1, the last, at `min_lr_ratio`; without warmup step 0 runs at the
    peak. Cosine: Loshchilov and Hutter 2017, equation 5, one period. Inverse square root: with `warmup` Vaswani et al.
    2017, section 5.3; with `hold_steps` instead, T5 (Raffel et al. 2020, section 3.1.2: 10,000 steps).
    Warmup-stable-decay: Hu et al. 2024 (MiniCPM), section 4.2; the decay as a line or as 1 - √q, Hägele et al. 2024,
    section 3.

    >>> from lm_objectives import LRSchedule
    >>> schedule = LRSchedule("linear", warmup=2, min_lr_ratio=0.1)
    >>> [round(schedule.factor(step, steps=6), 3) for step in range(6)]
    [0.5, 1.0, 0.775, 0.55, 0.325, 0.1]

    An int counts optimizer steps; a float is a share of the training, in [0, 1).

    Args:
        kind: what follows the warmup.
        warmup: length of the rise, an int of 0 or more or a share.
        min_lr_ratio: factor of the peak at the last step, in [0, 1]; for linear, cosine and wsd.
        hold_steps: until when the peak lasts, counted from the start, an int of 0 or more or a share; for inverse_sqrt.
        milestones: where the rate drops, counted from the start, each later than the one before; for step.
        gamma: factor of each drop, in (0, 1]; for step.
        decay_steps: length of the last phase, an int of 0 or more or a share; for wsd.
        decay_type: form of that phase; for wsd.

    Raises:
        InputError: for a value out of range, or one that `kind` does not use.
    """

    kind: Kind = "cosine"
    warmup: int | float = 0.05
    min_lr_ratio: float = 0.0
    hold_steps: int | float = 0
    milestones: Sequence[int | float] = ()
    gamma: float = 0.1
    decay_steps: int | float = 0.2
    decay_type: DecayType = "linear"

    def __post_init__(self) -> None:
        plain_fields(self)
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list in YAML
        for name, choices in {"kind": get_args(Kind), "decay_type": get_args(DecayType)}.items():
            found = getattr(self, name)
            expect(found in choices, f"a {name} among {', '.join(choices)}", found, "choose one of them")
        lengths = [(name, getattr(self, name)) for name in ("warmup", "hold_steps", "decay_steps")]
        for name, length in [*lengths, *(("milestones", milestone) for milestone in self.milestones)]:
            _check_length(name, length)
        mend = "write for example [0.5, 0.75]"
        expect(self.kind != "step" or bool(self.milestones), "milestones for a step schedule", "none", mend)
        mend = "write a share of the peak learning rate"
        expect(0 <= self.min_lr_ratio <= 1, "a min_lr_ratio in [0, 1]", self.min_lr_ratio, mend)
        expect(0 < self.gamma <= 1, "a gamma in (0, 1]", self.gamma, "0.1 divides the rate by ten")
        for field in fields(self)[2:]:
            found = getattr(self, field.name)
            if field.name not in _SETTINGS[self.kind] and found != field.default:
                kinds = " or ".join(kind for kind, settings in _SETTINGS.items() if field.name in settings)
                raise InputError(
                    f"expected no {field.name} in a {self.kind} schedule, found {found}: leave it out, or choose "
                    f"kind={kinds}"
                )

    def factor(self, step: int, steps: int) -> float:
        """The factor of optimizer step `step`, counted from 0, in a training of `steps`, -1 for one without an end.

        Raises:
            InputError: where a training without an end is asked for a share of it, or for a decay towards its end;
                where milestones are out of order, or warmup and decay longer than the training.
        """
        expected = f"an end of training for a {self.kind} decay"
        mend = "set max_steps or kind=constant"
        expect(steps != -1 or "min_lr_ratio" not in _SETTINGS[self.kind], expected, "none", mend)
        warmup = max(_to_steps("warmup", self.warmup, steps), 1)
        decay = self._decay(warmup, step, steps)  # also during the warmup: what is wrong shall show at step 0
        return (step + 1) / warmup if step < warmup else decay

    def _decay(self, warmup: int, step: int, steps: int) -> float:
        """The factor of a step after the warmup."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "inverse_sqrt":
            peak = max(warmup, _to_steps("hold_steps", self.hold_steps, steps))
            return math.sqrt(peak / max(step + 1, peak))
        if self.kind == "step":
            drops = [_to_steps("milestones", milestone, steps) for milestone in self.milestones]
            expected = "each of the milestones later than the one before"
            mend = "sort them"
            expect(all(earlier < later for earlier, later in pairwise(drops)), expected, f"steps {drops}", mend)
            return self.gamma ** sum(drop <= step for drop in drops)
        length = _to_steps("decay_steps", self.decay_steps, steps) if self.kind == "wsd" else steps - warmup
        expected = f"a warmup and a decay within the training's {steps} steps"
        mend = "shorten one of them"
        expect(self.kind != "wsd" or not length or warmup + length <= steps, expected, f"{warmup} and {length}", mend)
        if length <= 0:
            return 1.0
        done = min(max(step + 1 - (steps - length), 0) / length, 1.0)
        if self.kind == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        elif self.kind == "wsd" and self.decay_type == "1-sqrt":
            done = math.sqrt(done)
        return 1 - (1 - self.min_lr_ratio) * done

    def lr_scheduler(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A scheduler that multiplies each group's own learning rate; step it once an optimizer step."""
        return LambdaLR(optimizer, lambda step: float(self.factor(step, steps)))


def _check_length(name: str, value: int | float) -> None:
    mend = "write an int such as 100 to count steps"
    expect(not isinstance(value, float) or 0 <= value < 1, f"a {name} share in [0, 1)", value, mend)
    mend = "write an int of steps or a share in [0, 1)"
    expect(not isinstance(value, bool) and value >= 0, f"a {name} of 0 steps or more", value, mend)


def _to_steps(name: str, value: int | float, steps: int) -> int:
    """A length in optimizer steps."""
    expected = f"an end of training for a {name} share of {value}"
    mend = f"set max_steps or write {name} as an int of steps"
    expect(not isinstance(value, float) or not value or steps != -1, expected, "none", mend)
    return round(value * steps) if isinstance(value, float) else value
