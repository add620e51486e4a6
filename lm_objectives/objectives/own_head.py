"""What objectives share whose tokens a family's own head predicts."""

from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.objectives.base import LossOutput
from lm_objectives.objectives.tokens import TokenObjective
from lm_objectives.scoring import gather_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone


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
        return self.token_loss(self._scaled(gather_positions(hidden, view.label_positions)), self.weight(embedding), view.targets)

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
