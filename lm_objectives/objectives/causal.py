"""Next-token prediction."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.shifting import NextToken
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.tokens import YARDSTICKS, own_head, score_tokens, token_metrics, unigram_of
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone


class CausalLM(Objective):
    """Each token from those before it: L = −Σ ln p(x_t | x_<t), in nats per predicted token.

    GPT (Radford et al. 2018, section 3.1); Llama. The head is linear, tied to the embedding where the backbone's
    configuration ties it, as the family's own causal head does, and the embedding is as wide as the hidden states.
    """

    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = NextToken()

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size = vocabulary.size
        self.head = own_head(backbone)
        self.register_buffer("unigram", unigram_of(vocabulary), persistent=False)

    def initial_loss(self) -> float:
        return math.log(self.vocabulary_size)

    def score(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> Outcome:
        weight = embedding if self.head is None else self.head.weight
        return score_tokens(at_positions(hidden, view.scored), weight, view.targets, self.unigram, self.training)

    def metrics(self) -> dict[str, Metric]:
        return token_metrics()
