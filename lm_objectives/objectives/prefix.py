"""Next-token prediction behind a prefix."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import Layout, View, Vocabulary
from lm_objectives.corruption.named import ids_named
from lm_objectives.corruption.shifting import PrefixNextToken
from lm_objectives.demo.continuing import continued_behind_prefix
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.tokens import YARDSTICKS, own_head, score_tokens, token_metrics, unigram_of
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone
    from lm_objectives.demo.stage import Stage


class PrefixLM(Objective):
    """Each token behind a prefix of p from all before it: L = −Σ_{t ≥ p} ln p(x_t | x_<t), in nats per predicted token.

    Raffel et al. 2020, section 3.2.1; with a mode token UL2's S denoiser (Tay et al. 2023, section 3.1.2). Tokens of
    the prefix see all of it, and are not predicted. The head is the family's own, as in `CausalLM` and, behind a
    decoder, in `SpanDenoising`.

    Args:
        prefix_share: the prefix's part of a row, in (0, 1); by default every split of a row is as likely.
        mode: a special token put in front of each row, such as "[S]".
        layout: whether one row holds both, or a decoder writes what stands behind the prefix, which an encoder reads.
    """

    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS

    def __init__(
        self, prefix_share: float | None = None, mode: str | None = None, layout: Layout = "prefix", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = PrefixNextToken(prefix_share, mode, layout)

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
        mode = ids_named(stage.vocabulary, self.corruption.tokens(stage.window)).tolist()
        head, decodes = lambda states: F.linear(self.scale * states, weight), self.corruption.decodes
        return continued_behind_prefix(stage, head, mode, decodes)
