"""Every balancer once, and the steps that the shared tests put them through."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lm_objectives.balancers import (
    FAMO,
    IMTLL,
    Balancer,
    ByDifficulty,
    Competence,
    Curriculum,
    DynamicWeightAverage,
    Fixed,
    GeometricMean,
    GradNorm,
    RandomWeights,
    Stages,
    StepStatistics,
    TorchJD,
    Uncertainty,
)

NAMES = ("causal", "masked", "order")
INITIAL = torch.tensor([8.0, 8.0, 0.7], dtype=torch.double)
STEPS = 40

CLASSES = {
    "Fixed": (Fixed, {}),
    "Uncertainty": (Uncertainty, {"learning_rate": 0.05}),
    "Liebel": (Uncertainty, {"variant": "liebel"}),
    "GradNorm": (GradNorm, {}),
    "RandomWeights": (RandomWeights, {"seed": 3}),
    "DynamicWeightAverage": (DynamicWeightAverage, {"window": 2}),
    "FAMO": (FAMO, {}),
    "GeometricMean": (GeometricMean, {}),
    "IMTLL": (IMTLL, {}),
    "Stages": (Curriculum, {"pace": Stages({"causal": [[0, 0.5], [1.0, 1.0]]}), "inner": Uncertainty()}),
    "Competence": (Curriculum, {"pace": Competence(list(NAMES), duration=10), "inner": GradNorm()}),
    "ByDifficulty": (Curriculum, {"pace": ByDifficulty(list(NAMES), window=2, smoothing=0.5), "inner": FAMO()}),
    "UPGrad": (TorchJD, {"weighting": "UPGrad"}),
    "PCGrad": (TorchJD, {"weighting": "PCGrad"}),
    "GradVac": (TorchJD, {"weighting": "GradVac"}),
    "NashMTL": (TorchJD, {"weighting": "NashMTL"}),
    "PCD": (TorchJD, {"weighting": "PCD", "primary": "causal"}),
    "ExcessMTL": (TorchJD, {"weighting": "ExcessMTL"}),
}

OWN = [name for name, (kind, _) in CLASSES.items() if kind is not TorchJD]


def make(name: str, names: tuple[str, ...] = NAMES, initial: Tensor = INITIAL) -> Balancer:
    """A new balancer of `CLASSES`, built; paces and inner balancers are made anew too, in an order of `names` alone."""
    kind, arguments = CLASSES[name]

    def own(given: dict[str, Any]) -> dict[str, Any]:
        return {key: [n for n in value if n in names] if key == "order" else value for key, value in given.items()}

    if kind is TorchJD:
        pytest.importorskip("torchjd")
    fresh = {
        key: type(value)(**own(value._arguments)) if hasattr(value, "setup") else value
        for key, value in arguments.items()
    }
    balancer = kind(**fresh)
    balancer.setup(names, initial, STEPS)
    return balancer


def totals(step: int, trained: Tensor | None = None, names: tuple[str, ...] = NAMES) -> StepStatistics:
    """What step `step` measured: losses that fall at different speeds, and gradients that partly conflict."""
    size = len(names)
    generator = torch.Generator().manual_seed(step)
    speed = torch.tensor([0.02, 0.05, 0.005], dtype=torch.double)[:size]
    noise = 1 + 0.1 * torch.rand(size, generator=generator, dtype=torch.double)
    gradients = torch.randn(size, 11, generator=generator, dtype=torch.double) * INITIAL[:size, None]
    here = torch.ones(size, dtype=torch.bool) if trained is None else trained
    losses = INITIAL[:size] * torch.exp(-speed * step) * noise
    return StepStatistics(step, losses * here, here, gradients)
