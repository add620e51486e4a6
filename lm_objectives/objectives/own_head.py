"""What objectives share whose tokens a family's own head predicts."""

from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.tokens import YARDSTICKS, score_tokens, token_metrics, uniform_loss, unigram_of
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone


class OwnHead(Objective):
    """Predicts tokens by the family's own head: the token embedding, or a linear map where it is not tied.

    Attributes:
        head: that map, `None` where the embedding stands for it.
        scale: what hidden states are multiplied by in front of either, as T5 does.
        label_smoothing, z_loss: of the training loss, as in `CausalLM`.
    """

    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS
    label_smoothing = z_loss = 0.0

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size = vocabulary.size
        self.head, self.scale = fresh_head(backbone), backbone.head_scale
        self.register_buffer("unigram", unigram_of(vocabulary), persistent=False)

    def initial_loss(self) -> float:
        return uniform_loss(self.vocabulary_size, self.z_loss)

    def score(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> Outcome:
        weight = embedding if self.head is None else self.head.weight
        states, extras = self._scaled(at_positions(hidden, view.scored)), (self.label_smoothing, self.z_loss)
        return score_tokens(states, weight, view.targets, self.unigram, self.training, None, *extras)

    def logits(self, states: Float[Tensor, "*shape dim"], backbone: "Backbone") -> Float[Tensor, "*shape vocab"]:
        """Of each token, from hidden states."""
        return F.linear(self._scaled(states), backbone.embedding if self.head is None else self.head.weight)

    def _scaled(self, states: Tensor) -> Tensor:
        return states if self.scale == 1 else self.scale * states

    def metrics(self) -> dict[str, Metric]:
        return token_metrics()


def fresh_head(backbone: "Backbone") -> nn.Linear | None:
    """A fresh linear map onto the vocabulary, `None` where the family's own head is its token embedding."""
    if backbone.tied:
        return None
    head = nn.Linear(backbone.dim, len(backbone.embedding), bias=False)
    nn.init.normal_(head.weight, std=backbone.initializer_range)
    return head
