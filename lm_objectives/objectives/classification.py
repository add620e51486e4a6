"""What objectives that judge pairs of segments share: BERT's head, its score and its metric."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.objectives.base import LossOutput
from lm_objectives.objectives.metrics import Mean
from lm_objectives.views import View


def pair_layers(dim: int, initializer_range: float) -> tuple[nn.Linear, nn.Linear]:
    """BERT's pooler, and the classifier of two labels behind it."""
    layers = nn.Linear(dim, dim), nn.Linear(dim, 2)
    for layer in layers:
        nn.init.normal_(layer.weight, std=initializer_range)
        nn.init.zeros_(layer.bias)
    return layers


def score_pairs(logits: Float[Tensor, "rows 2"], view: View, training: bool) -> LossOutput:
    """Nats summed over pairs, and outside training what `pair_metrics` observe."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sums = {"loss": F.cross_entropy(logits, view.targets, reduction="sum")}
    if training:
        return LossOutput(sums)
    correct = (logits.argmax(dim=1) == view.targets).float()
    return LossOutput(sums, {"accuracy": (correct,)})


def pair_metrics() -> dict[str, Metric]:
    """The share of pairs that are judged right."""
    return {"accuracy": Mean()}
