"""What an optimizer is given: parameters in groups by their role, and a learning rate that changes over training."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Kind = Literal["linear", "cosine", "constant"]


def parameter_groups(module: nn.Module, vocabulary: int) -> list[dict[str, Any]]:
    """Every trainable parameter of `module` once, in groups by the part that it plays, for any torch optimizer.

    - `matrix`: other 2-D weights, of transformer blocks and of heads;
    - `embedding`: tables looked up by index (tokens, positions, segments), and linear maps onto the vocabulary;
    - `tensor`: weights of 3 dimensions or more (stacked experts, convolutions);
    - `vector`: biases, gains and scalars, with a `weight_decay` of 0 of their own.

    A weight that is tied between an embedding and a linear map is an `embedding`. Groups stand in this order and
    parameters in the module's; a role that nothing plays has no group.

    Args:
        module: backbone and heads together.
        vocabulary: rows of the token embedding; a linear map with as many outputs is taken for a vocabulary head.
    """
    tables = {
        id(part.weight)
        for part in module.modules()
        if isinstance(part, nn.Embedding) or (isinstance(part, nn.Linear) and part.out_features == vocabulary)
    }
    groups: dict[str, dict[str, Any]] = {
        "matrix": {"params": [], "role": "matrix"},
        "embedding": {"params": [], "role": "embedding"},
        "tensor": {"params": [], "role": "tensor"},
        "vector": {"params": [], "role": "vector", "weight_decay": 0.0},
    }
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            role = "vector"
        elif id(parameter) in tables:
            role = "embedding"
        else:
            role = "matrix" if parameter.ndim == 2 else "tensor"
        groups[role]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over training, as a factor of its peak: a linear warmup, then a decay.

    With W steps of warmup in N steps, counted from 0, and p = (t - W + 1) / (N - W) the way from peak to end:

        f(t) = (t + 1) / W                              t < W
        f(t) = 1 - (1 - final) · p                      linear
        f(t) = 1 - (1 - final) · (1 - cos(π p)) / 2     cosine (Loshchilov & Hutter 2017, equation 5, one period)
        f(t) = 1                                        constant

    so that step W - 1 runs at the peak and step N - 1, the last, at `final`. Without warmup step 0 runs at the peak.

    Args:
        kind: what follows the warmup.
        warmup: an int is a number of optimizer steps, 0 or more; a float is a share of the training, in [0, 1).
        final: factor of the peak at the last step, in [0, 1]; of no effect where `kind` is constant.
    """

    kind: Kind = "cosine"
    warmup: int | float = 0.05
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(
                f"expected a kind among {', '.join(get_args(Kind))}, found {self.kind}: choose one of them"
            )
        if isinstance(self.warmup, float) and not 0 <= self.warmup < 1:
            raise ValueError(
                f"expected a warmup share in [0, 1), found {self.warmup}: write an int such as 100 to count steps"
            )
        if isinstance(self.warmup, bool) or self.warmup < 0:
            raise ValueError(
                f"expected a warmup of 0 steps or more, found {self.warmup}: write an int of steps or a share in [0, 1)"
            )
        if not 0 <= self.final <= 1:
            raise ValueError(
                f"expected a final factor in [0, 1], found {self.final}: write a share of the peak learning rate"
            )

    def factor(self, step: int, steps: int) -> float:
        """The factor of optimizer step `step`, counted from 0, in a training of `steps`, -1 for one without an end.

        Raises:
            ValueError: where a training without an end is asked for a share of it, or for a decay towards its end.
        """
        if steps == -1:
            self._require_endless()
        warmup = round(self.warmup * steps) if isinstance(self.warmup, float) else self.warmup
        if step < warmup:
            return (step + 1) / warmup
        peak, last = max(warmup - 1, 0), steps - 1
        if self.kind == "constant" or last <= peak:
            return 1.0
        done = min((step - peak) / (last - peak), 1.0)
        if self.kind == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return 1 - (1 - self.final) * done

    def lr_scheduler(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """A scheduler, to be stepped once an optimizer step, that multiplies each group's own learning rate."""
        return LambdaLR(optimizer, lambda step: self.factor(step, steps))

    def _require_endless(self) -> None:
        if self.kind != "constant":
            raise ValueError(
                f"expected an end of training for a {self.kind} decay, found none: set max_steps or kind=constant"
            )
        if isinstance(self.warmup, float) and self.warmup > 0:
            raise ValueError(
                f"expected an end of training for a warmup share of {self.warmup}, found none: "
                "set max_steps or write warmup as an int of steps"
            )
