"""Next-sentence prediction."""

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.objectives.base import LossOutput, Objective
from lm_objectives.objectives.classification import pair_layers, pair_metrics, score_pairs
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


class NextSentence(Objective):
    """Whether a second segment follows the first or comes from another document: L = −ln p(label), in nats per pair.

    BERT (Devlin et al. 2019, section 3.1, task 2). The head is BERT's: the first token's state through a dense layer
    and tanh, then two classes, 0 for the next segment and 1 for another one.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = NextSentencePairs()

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del vocabulary
        self.dense, self.classifier = pair_layers(backbone.dim, backbone.initializer_range)

    def initial_loss(self) -> float:
        return math.log(2)

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        del embedding
        return score_pairs(self.classifier(torch.tanh(self.dense(hidden[:, 0]))), view, self.training)

    def metrics(self) -> dict[str, Metric]:
        return pair_metrics()
