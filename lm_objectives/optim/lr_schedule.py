"""A learning rate that changes over training: warmup, then one of the published decays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lm_objectives.errors import InputError

Kind = Literal["constant", "linear", "cosine", "inverse_sqrt", "step", "wsd"]


DecayType = Literal["linear", "1-sqrt"]


_OWN: dict[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("min_lr_ratio",),
    "cosine": ("min_lr_ratio",),
    "inverse_sqrt": ("hold_steps",),
    "step": ("milestones", "gamma"),
    "wsd": ("min_lr_ratio", "decay_steps", "decay_type"),
}
"""Settings that a kind reads besides `warmup`."""


_TOWARDS_THE_END = ("linear", "cosine", "wsd")


@dataclass(frozen=True)
class LRSchedule:
    """The learning rate over training, as a factor of its peak: a linear warmup, then what `kind` says.

    With W steps of warmup, at least 1, in N steps, counted from 0: f(t) = (t + 1) / W where t < W, and then

        constant       1
        linear         1 - (1 - final) · p                   p = (t + 1 - W) / (N - W), the way from peak to end
        cosine         1 - (1 - final) · (1 - cos(π p)) / 2
        inverse_sqrt   √(K / max(t + 1, K))                  K = max(W, hold)
        step           gamma^m                               m of the milestones are at t or before
        wsd            1 - (1 - final) · q or √q             q = max(t + 1 - (N - D), 0) / D, the way through the decay

    so that step W - 1 runs at the peak and step N - 1, the last, at `final`; without warmup step 0 runs at the peak.
    Cosine: Loshchilov and Hutter 2017, equation 5, one period. Inverse square root: with `warmup` Vaswani et al. 2017,
    section 5.3; with `hold` instead, T5 (Raffel et al. 2020, section 3.1.2: 10,000 steps). Warmup-stable-decay: Hu et
    al. 2024 (MiniCPM), section 4.2; the decay as a line or as 1 - √q, Hägele et al. 2024, section 3.

    An int counts optimizer steps; a float is a share of the training, in [0, 1).

    Args:
        kind: what follows the warmup.
        warmup: length of the rise, an int of 0 or more or a share.
        final: factor of the peak at the last step, in [0, 1]; for linear, cosine and wsd.
        hold: until when the peak lasts, counted from the start, an int of 0 or more or a share; for inverse_sqrt.
        milestones: where the rate drops, counted from the start, each later than the one before; for step.
        gamma: what each drop multiplies the rate by, in (0, 1]; for step.
        decay: length of the last phase, D, an int of 0 or more or a share; for wsd.
        shape: how that phase falls; for wsd.
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
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list in YAML
        for name, choices in {"kind": get_args(Kind), "decay_type": get_args(DecayType)}.items():
            found = getattr(self, name)
            if found not in choices:
                raise InputError(f"expected a {name} among {', '.join(choices)}, found {found}: choose one of them")
        for name in ("warmup", "hold_steps", "decay_steps"):
            _check_length(name, getattr(self, name))
        for milestone in self.milestones:
            _check_length("milestones", milestone)
        if self.kind == "step" and not self.milestones:
            raise InputError("expected milestones for a step schedule, found none: write for example [0.5, 0.75]")
        if not 0 <= self.min_lr_ratio <= 1:
            raise InputError(
                f"expected a final factor in [0, 1], found {self.min_lr_ratio}: write a share of the peak learning rate"
            )
        if not 0 < self.gamma <= 1:
            raise InputError(f"expected a gamma in (0, 1], found {self.gamma}: 0.1 divides the rate by ten")
        for field in fields(self)[2:]:
            found = getattr(self, field.name)
            if field.name not in _OWN[self.kind] and found != field.default:
                kinds = " or ".join(kind for kind, own in _OWN.items() if field.name in own)
                raise InputError(
                    f"expected no {field.name} in a {self.kind} schedule, found {found}: leave it out, or choose "
                    f"kind={kinds}"
                )

    def factor(self, step: int, steps: int) -> float:
        """The factor of optimizer step `step`, counted from 0, in a training of `steps`, -1 for one without an end.

        Raises:
            ValueError: where a training without an end is asked for a share of it, or for a decay towards its end;
                where milestones are out of order, or warmup and decay longer than the training.
        """
        if steps == -1 and self.kind in _TOWARDS_THE_END:
            raise InputError(
                f"expected an end of training for a {self.kind} decay, found none: set max_steps or kind=constant"
            )
        warmup = max(_whole("warmup", self.warmup, steps), 1)
        decay = self._decay(warmup, step, steps)  # also during the warmup: what is wrong shall show at step 0
        return (step + 1) / warmup if step < warmup else decay

    def _decay(self, warmup: int, step: int, steps: int) -> float:
        """The factor of a step after the warmup."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "inverse_sqrt":
            peak = max(warmup, _whole("hold_steps", self.hold_steps, steps))
            return math.sqrt(peak / max(step + 1, peak))
        if self.kind == "step":
            return self.gamma ** sum(milestone <= step for milestone in self._placed(steps))
        length = self._decay_length(warmup, steps) if self.kind == "wsd" else steps - warmup
        if length <= 0:
            return 1.0
        done = min(max(step + 1 - (steps - length), 0) / length, 1.0)
        if self.kind == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        elif self.kind == "wsd" and self.decay_type == "1-sqrt":
            done = math.sqrt(done)
        return 1 - (1 - self.min_lr_ratio) * done

    def _decay_length(self, warmup: int, steps: int) -> int:
        length = _whole("decay_steps", self.decay_steps, steps)
        if length and warmup + length > steps:
            raise InputError(
                f"expected a warmup and a decay within the training's {steps} steps, found {warmup} and {length}: "
                "shorten one of them"
            )
        return length

    def _placed(self, steps: int) -> list[int]:
        placed = [_whole("milestones", milestone, steps) for milestone in self.milestones]
        if any(later <= earlier for earlier, later in pairwise(placed)):
            raise InputError(
                f"expected each of the milestones later than the one before, found steps {placed}: sort them"
            )
        return placed

    def lr_scheduler(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A scheduler, to be stepped once an optimizer step, that multiplies each group's own learning rate."""
        return LambdaLR(optimizer, lambda step: self.factor(step, steps))


def _check_length(name: str, value: int | float) -> None:
    if isinstance(value, float) and not 0 <= value < 1:
        raise InputError(f"expected a {name} share in [0, 1), found {value}: write an int such as 100 to count steps")
    if isinstance(value, bool) or value < 0:
        raise InputError(
            f"expected a {name} of 0 steps or more, found {value}: write an int of steps or a share in [0, 1)"
        )


def _whole(name: str, value: int | float, steps: int) -> int:
    """A length in optimizer steps."""
    if isinstance(value, float) and value and steps == -1:
        raise InputError(
            f"expected an end of training for a {name} share of {value}, found none: "
            f"set max_steps or write {name} as an int of steps"
        )
    return round(value * steps) if isinstance(value, float) else value
