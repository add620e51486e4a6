"""What objectives that predict tokens share: metrics and baselines over the vocabulary."""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.errors import InputError
from lm_objectives.objectives.base import BaselineNames, LossOutput, Objective
from lm_objectives.objectives.losses import correct_predictions, gather_positions, linear_cross_entropy_sum
from lm_objectives.objectives.metrics import Mean, token_baselines
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


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
        raise InputError(
            f"expected label_smoothing of at least 0 and below 1, found {label_smoothing}: 0.1 is usual, 0 turns it off"
        )
    if not 0 <= z_loss < math.inf:
        raise InputError(f"expected a z_loss of at least 0, found {z_loss}: 0.0001 is PaLM's, 0 turns it off")


def uniform_loss(vocab: int, z_loss: float) -> float:
    """Nats of a model whose logits are all 0: ln V, and c · (ln V)² where there is a z-loss; smoothing adds nothing."""
    return math.log(vocab) + z_loss * math.log(vocab) ** 2


class Perplexity(Mean):
    """exp of the mean of nats per scored position."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class OwnHead(TokenObjective):
    """Predicts tokens by the family's own head: the token embedding, or a linear map where it is not tied.

    Attributes:
        head: that map, `None` where the embedding stands for it.
        scale: what hidden states are multiplied by in front of either, as T5 does.
    """

    output_layers: ClassVar[tuple[str, ...]] = ("head",)

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        super().setup(backbone, vocabulary)
        self.head, self.scale = new_lm_head(backbone), backbone.head_scale

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        return self.token_loss(
            self._scaled(gather_positions(hidden, view.label_positions)), self.weight(embedding), view.targets
        )

    def weight(self, embedding: Float[Tensor, "vocab width"]) -> Float[Tensor, "vocab dim"]:
        """What states are multiplied by, a row for each token."""
        return embedding if self.head is None else self.head.weight

    def logits(
        self, hidden: Float[Tensor, "*shape dim"], embedding: Float[Tensor, "vocab width"]
    ) -> Float[Tensor, "*shape vocab"]:
        """Of each token, from hidden states."""
        return F.linear(self._scaled(hidden), self.weight(embedding))

    def _scaled(self, states: Tensor) -> Tensor:
        return states if self.scale == 1 else self.scale * states


def new_lm_head(backbone: "Backbone") -> nn.Linear | None:
    """A fresh linear map onto the vocabulary, `None` where the family's own head is its token embedding."""
    if backbone.tied:
        return None
    head = nn.Linear(backbone.dim, len(backbone.embedding), bias=False)
    nn.init.normal_(head.weight, std=backbone.initializer_range)
    return head
