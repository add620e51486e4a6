"""The readings of ELECTRA: its generator's, its discriminator's, and the language model that both make together."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.evaluation.readings.base import (
    Reading,
    RowReading,
    RowScorer,
    Spans,
    TextReading,
    TextRows,
    frame,
    make_view,
    whole_texts,
)
from lm_objectives.evaluation.readings.masked_lm import MaskingRows
from lm_objectives.evaluation.readings.registry import readings_of
from lm_objectives.evaluation.texts import Texts
from lm_objectives.objectives import ReplacedToken
from lm_objectives.objectives.losses import TokenHead
from lm_objectives.views import View, Vocabulary, gather_positions

if TYPE_CHECKING:
    from lm_objectives.training.module import Pretraining


class GeneratorReading(MaskingRows):
    """The masked reading of the generator."""

    def head(self, module: "Pretraining", view: View) -> TokenHead:
        backbone = module.backbone
        hidden = self.objective.encode_generator(view, backbone.embedding_parameters())
        return self.objective.head(gather_positions(hidden, view.label_positions), backbone.embedding)


class DetectorReading(RowReading):
    """S = Σ_t ln(1 - σ(l_t)), l the logit that a token was replaced: how original all tokens look, in one pass.

    No likelihood: l tells the ratio of the text's own probability and the generator's, so where the generator is good
    it says nothing (Xia et al. 2022, section 3, score options by it). `ElectricReading` undoes that.
    """

    held_out = "metrics"
    read_elsewhere = ("generator", "loss")

    def rows(self, texts: Texts, vocabulary: Vocabulary) -> Spans:
        del vocabulary
        return whole_texts(texts)

    def view(self, rows: TextRows, vocabulary: Vocabulary) -> View:
        prefix, suffix = self.objective.corruption.prefix_and_suffix(vocabulary)
        ids, lengths = frame(rows.ids, rows.lengths, prefix, suffix, vocabulary.pad)
        return make_view(ids, lengths, "bidirectional", rows.flat(ids.shape[1], len(prefix)), rows.targets)

    def position_log_probs(self, module: "Pretraining", view: View) -> Float[Tensor, " scored"]:
        return F.logsigmoid(-self.logits(module, view))

    def logits(self, module: "Pretraining", view: View) -> Float[Tensor, " scored"]:
        """The logit of "replaced" at each label position."""
        [hidden] = module.backbone.encode([view])
        return self.objective.logits(hidden).flatten().index_select(0, view.label_positions).float()


class _Logits(DetectorReading):
    """The discriminator's logits themselves."""

    def position_log_probs(self, module: "Pretraining", view: View) -> Float[Tensor, " scored"]:
        return self.logits(module, view)


class ElectricReading(TextReading):
    """S = Σ_t ln p̂_t, the probability of a token that generator and discriminator imply together.

    A token is replaced with the odds m q (1 - p) / (p (1 - m + m q)), of the mask rate m, the generator's probability
    q and the true p of the token, since a sample that equals the original counts as original. The discriminator's
    logit l is the logarithm of these odds, so that p̂ = σ(-l + ln q + ln m - ln(1 - m + m q)). Clark et al. 2020,
    "Pre-Training Transformers as Energy-Based Cloze Models", train such an estimate; here it comes from ELECTRA's own.

    Args:
        generator: the reading of the generator.
        rate: the share m of tokens that are hidden from the generator and filled in. One that is chosen and stays
            visible, as 15 % of ELECTRA's are, is taken to be copied, and so to count as original.
    """

    def __init__(self, generator: GeneratorReading, rate: float) -> None:
        super().__init__(generator.objective)
        self.generator, self.discriminator, self.rate = generator, _Logits(generator.objective), rate

    def log_probs(self, texts: Texts, scorer: RowScorer) -> np.ndarray:
        logits = self.discriminator.log_probs(texts, scorer)
        return implied_log_probs(logits, self.generator.log_probs(texts, scorer), self.rate)


def implied_log_probs(logits: np.ndarray, generator: np.ndarray, rate: float) -> np.ndarray:
    """ln p̂ from the discriminator's logits and the generator's ln q, elementwise (see `ElectricReading`).

    >>> import numpy as np
    >>> np.exp(implied_log_probs(np.array([-3.207394]), np.log([0.1]), 0.15)).round(4)  # made with p = 0.3
    array([0.3])

    Args:
        logits: of "replaced".
        generator: ln q of the tokens.
        rate: the mask rate, in (0, 1).
    """
    score = -logits + generator + np.log(rate) - np.log1p(rate * np.expm1(generator))
    return -np.logaddexp(0, -score)


@readings_of.register
def _(objective: ReplacedToken) -> dict[str, Reading]:
    generator, corruption = GeneratorReading(objective), cast(TokenReplacement, objective.corruption)
    rate = corruption.rate if isinstance(corruption.rate, int | float) else corruption.rate[-1][1]  # where it ends
    electric = ElectricReading(generator, rate * corruption.mask_share)
    return {"generator": generator, "detector": DetectorReading(objective), "electric": electric}
