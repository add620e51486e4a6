"""Adafactor, which keeps second moments as row and column means."""

from torch.optim.optimizer import ParamsT
from transformers.optimization import Adafactor as AnyAdafactor

from lm_objectives.errors import expect
from lm_objectives.ranges import is_within


class Adafactor(AnyAdafactor):
    """Adafactor (Shazeer and Stern 2018, algorithms 4 and 5) without momentum, at the schedule's learning rate.

    For a weight W with gradient G at step t = 1, 2, …, with β = 1 - t^decay_rate and RMS the root of the mean square:

        R ← β R + (1 - β) mean over columns of (G² + eps[0])        C likewise over rows; a vector keeps β V + …
        U = G / √V  where  V = R C / mean(R)
        W ← W - lr · max(eps[1], RMS(W)) · U / max(1, RMS(U) / clip_threshold)

    A matrix of r × c has r + c numbers of state; a tensor of more dimensions is factored over its last two.
    The paper's own relative step, min(0.01, 1/√t), is `lr` 0.01 under `inverse_sqrt` without warmup, held for 10,000
    steps; T5 trained so (Raffel et al. 2020, section 3.1.2). The formula is transformers': torch's Adafactor caps every
    rate at 1/√t, so that after 10,000 steps the schedule would no longer decide.

    Args:
        params: parameters or groups of them.
        lr: learning rate, at least 0, relative to a weight's root mean square where `scale_parameter` is set.
        eps: added to squared gradients, above 0; and the least root mean square that a weight is taken to have.
        clip_threshold: the greatest root mean square of an update before `lr`, above 0.
        decay_rate: exponent of the second moments' forgetting, below 0.
        weight_decay: decoupled, as a share of the weight per unit of the step it takes, at least 0.
        scale_parameter: whether steps are relative to the weight's root mean square.

    Raises:
        InputError: for a value out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.01,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
    ) -> None:
        for name, value in {"lr": lr, "weight_decay": weight_decay, "eps[1]": eps[1]}.items():
            expect(is_within(value, 0), f"{name} of at least 0", value, "choose a number such as 0.001")
        for name, value in {"clip_threshold": clip_threshold, "eps[0]": eps[0]}.items():
            expect(is_within(value, 0) and value > 0, f"{name} above 0", value, "leave it out for the published one")
        expect(is_within(decay_rate) and decay_rate < 0, "decay_rate below 0", decay_rate, "-0.8 is the published one")
        super().__init__(
            params,
            lr,
            tuple(eps),
            clip_threshold,
            decay_rate,
            weight_decay=weight_decay,
            scale_parameter=scale_parameter,
            relative_step=False,
        )
