"""Writing a text anew from a corrupted one."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.infilling import TextInfilling
from lm_objectives.corruption.lengths import Poisson, SpanLengths
from lm_objectives.corruption.units import Unit
from lm_objectives.demo.rewriting import rewritten
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.tokens import YARDSTICKS, own_head, score_tokens, token_metrics, unigram_of
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone
    from lm_objectives.demo.stage import Stage


class TextDenoising(Objective):
    """The whole text from one with holes and shuffled sentences: L = −Σ ln p(x_t | x_<t, corrupted x).

    BART (Lewis et al. 2020, section 2), in nats per written token; every token of the text is written. The head is the
    family's own: the token embedding, or a linear map where the configuration does not tie it.

    Args:
        rate: share of the words that go, in (0, 1); 0.3 is BART's.
        lengths: of the runs of units that give way to one mask each; Poisson with a mean of 3, BART's, by default.
        unit: what is counted, tokens or whole words.
        permute_sentences: whether the sentences of a row are put in another order.
    """

    corruption: TextInfilling
    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS

    def __init__(
        self,
        rate: float = 0.3,
        lengths: SpanLengths | None = None,
        unit: Unit = "word",
        permute_sentences: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = TextInfilling(rate, lengths or Poisson(), unit, permute_sentences)

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size = vocabulary.size
        self.head, self.scale = own_head(backbone), backbone.head_scale
        self.register_buffer("unigram", unigram_of(vocabulary), persistent=False)

    def initial_loss(self) -> float:
        return math.log(self.vocabulary_size)

    def score(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> Outcome:
        weight = embedding if self.head is None else self.head.weight
        states = self.scale * at_positions(hidden, view.scored)
        return score_tokens(states, weight, view.targets, self.unigram, self.training)

    def metrics(self) -> dict[str, Metric]:
        return token_metrics()

    def exhibit(self, stage: "Stage") -> Iterator[str]:
        weight = stage.backbone.embedding if self.head is None else self.head.weight
        return rewritten(stage, self.corruption, lambda states: F.linear(self.scale * states, weight))
