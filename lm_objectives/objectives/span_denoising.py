"""Writing the spans that sentinels stand for."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.corruption.base import Layout, Vocabulary
from lm_objectives.corruption.spans import SpanCorruption
from lm_objectives.demo.restoring import restored
from lm_objectives.objectives.own_head import OwnHead

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone
    from lm_objectives.demo.stage import Stage


class SpanDenoising(OwnHead):
    """The spans that gave way to sentinels: L = −Σ ln p(y_t | y_<t, corrupted x), in nats per written token.

    T5 (Raffel et al. 2020, section 3.1.4); with other rates, means and modes UL2's R and X denoisers (Tay et al. 2023,
    section 3.1). Sentinels and the end are written and scored like any token. The head is the family's own: the token
    embedding, in front of which T5 divides hidden states by √dim, or a linear map where the configuration does not tie
    it, as in T5 1.1.

    The unigram yardstick writes sentinels and the end as often as a whole row does, and the rest as the text has it.

    Args:
        rate: share of the tokens that are noise, in (0, 1); 0.15 is T5's.
        mean: tokens of a span on average, at least 1; 3.0 is T5's.
        layout: whether a decoder writes the spans behind an encoder, or one row holds both, its input as a prefix.
        mode: a token put in front of the input, such as UL2's "[R]".
    """

    corruption: SpanCorruption

    def __init__(
        self,
        rate: float = 0.15,
        mean: float = 3.0,
        layout: Layout = "encoder-decoder",
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = SpanCorruption(rate, mean, layout, mode)

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        super().build(backbone, vocabulary)
        written, share = self.corruption.written(backbone.window, vocabulary)
        shares = torch.zeros_like(self.unigram).index_fill(0, torch.from_numpy(written).to(self.unigram.device), share)
        marks = sorted({*vocabulary.special, *(number for _, number in vocabulary.named)})
        self.unigram = written_unigram(self.unigram, shares, marks)

    def exhibit(self, stage: "Stage") -> Iterator[str]:
        return restored(stage, self.corruption, partial(self.logits, embedding=stage.backbone.embedding))


def written_unigram(
    unigram: Float[Tensor, " vocab"], shares: Float[Tensor, " vocab"], marks: list[int]
) -> Float[Tensor, " vocab"]:
    """Nats of each token where marks have their shares, and the others what is left, by their frequencies in the text.

    -ln p(y) (1 - s) / (1 - m), where p is the text's unigram model, s the sum of the shares, and m what p gives marks.
    """
    nats = unigram + torch.log1p(-unigram[marks].neg().exp().sum()) - torch.log1p(-shares.sum())
    nats[marks] = -shares[marks].log()
    return nats
