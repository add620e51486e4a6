"""Next-token prediction."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import View, Vocabulary
from lm_objectives.corruption.shifting import NextToken
from lm_objectives.demo.continuing import continued
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.tokens import (
    YARDSTICKS,
    check_extras,
    own_head,
    score_tokens,
    token_metrics,
    uniform_loss,
    unigram_of,
)
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone
    from lm_objectives.demo.stage import Stage


class CausalLM(Objective):
    """Each token from those before it: L = −Σ ln p(x_t | x_<t), in nats per predicted token.

    GPT (Radford et al. 2018, section 3.1); Llama. The head is linear, tied to the embedding where the backbone's
    configuration ties it, as the family's own causal head does, and the embedding is as wide as the hidden states.

    Training minimises and logs the loss with label smoothing and z-loss; held-out losses and perplexity are without
    them, and compare whatever a run trains with.

    Args:
        label_smoothing: ε in [0, 1), part of the target's probability that all tokens share (Szegedy et al. 2016,
            section 7); 0.1 is usual.
        z_loss: c of at least 0, of the term c · (ln Z)² for each predicted token, Z the sum of exp of its logits
            (Chowdhery et al. 2022, section 5); PaLM's is 0.0001.
    """

    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS

    def __init__(self, label_smoothing: float = 0.0, z_loss: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_extras(label_smoothing, z_loss)
        self.label_smoothing, self.z_loss = label_smoothing, z_loss
        self.corruption = NextToken()

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size = vocabulary.size
        self.head = own_head(backbone)
        self.register_buffer("unigram", unigram_of(vocabulary), persistent=False)

    def initial_loss(self) -> float:
        return uniform_loss(self.vocabulary_size, self.z_loss)

    def score(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> Outcome:
        weight = embedding if self.head is None else self.head.weight
        states, extras = at_positions(hidden, view.scored), (self.label_smoothing, self.z_loss)
        return score_tokens(states, weight, view.targets, self.unigram, self.training, None, *extras)

    def metrics(self) -> dict[str, Metric]:
        return token_metrics()

    def exhibit(self, stage: "Stage") -> Iterator[str]:
        weight = stage.backbone.embedding if self.head is None else self.head.weight
        return continued(stage, lambda states: F.linear(states, weight))
