"""What objectives that predict tokens share: metrics and baselines over the vocabulary."""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.objectives.base import Objective, LossOutput, BaselineNames
from lm_objectives.objectives.baselines import token_baselines
from lm_objectives.objectives.mean import Mean
from lm_objectives.scoring import correct_predictions, linear_cross_entropy_sum

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone


class TokenObjective(Objective):
    """An objective whose targets are tokens of the vocabulary.

    Attributes:
        label_smoothing, z_loss: of the training loss, as in `CausalLM`.
    """

    baseline_names: ClassVar[BaselineNames] = {
        "loss": ("uniform", "unigram"),
        "perplexity": ("unigram_perplexity",),
        "accuracy": ("commonest",),
    }
    label_smoothing = z_loss = 0.0

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del backbone
        self.vocabulary_size = vocabulary.size

    def initial_loss(self) -> float:
        return uniform_loss(self.vocabulary_size, self.z_loss)

    def metrics(self) -> dict[str, Metric]:
        return {"perplexity": Perplexity(), "accuracy": Mean()}

    def baselines(self) -> dict[str, Metric]:
        """`uniform` and `unigram` in nats, `unigram_perplexity`, and `commonest`, the share of the commonest target."""
        return token_baselines(self.target_counts, self.vocabulary_size)

    def token_loss(
        self,
        states: Float[Tensor, "scored dim"],
        weight: Float[Tensor, "vocab dim"],
        targets: Int[Tensor, " scored"],
        bias: Float[Tensor, " vocab"] | None = None,
    ) -> LossOutput:
        """Nats summed over scored positions, and outside training what the metrics observe.

        Label smoothing and z-loss (see `scoring.vocabulary_nats`) belong to the training alone.
        """
        if self.training:
            extras = self.label_smoothing, self.z_loss
            return LossOutput({"loss": linear_cross_entropy_sum(states, weight, targets, bias, *extras)})
        nats = linear_cross_entropy_sum(states, weight, targets, bias)
        count = torch.full_like(nats, len(targets))
        observed = {
            "perplexity": (nats / count.clamp_min(1), count),
            "accuracy": (correct_predictions(states, weight, targets, bias),),
        }
        return LossOutput({"loss": nats}, observed)


def check_regularization(label_smoothing: float, z_loss: float) -> None:
    """Raise where label smoothing or the z-loss is out of its range."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"expected label_smoothing of at least 0 and below 1, found {label_smoothing}: 0.1 is usual, 0 turns it off"
        )
    if not 0 <= z_loss < math.inf:
        raise ValueError(f"expected a z_loss of at least 0, found {z_loss}: 0.0001 is PaLM's, 0 turns it off")


def uniform_loss(vocab: int, z_loss: float) -> float:
    """Nats of a model whose logits are all 0: ln V, and c · (ln V)² where there is a z-loss; smoothing adds nothing."""
    return math.log(vocab) + z_loss * math.log(vocab) ** 2


class Perplexity(Mean):
    """exp of the mean of nats per scored position."""

    def compute(self) -> Tensor:
        return super().compute().exp()
