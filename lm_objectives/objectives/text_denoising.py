"""Writing a text anew from a corrupted one."""

from typing import Any

from lm_objectives.corruptions.span_lengths import Poisson, SpanLengths
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.corruptions.windows import Frame
from lm_objectives.corruptions.word_units import Unit
from lm_objectives.objectives.language_model import OwnHead


class TextDenoising(OwnHead):
    """The whole text from one with holes and shuffled sentences: L = −Σ ln p(x_t | x_<t, corrupted x).

    BART (Lewis et al. 2020, section 2), in nats per written token; every token of the text is written. The head is the
    family's own: the token embedding, or a linear map where the configuration does not tie it.

    Args:
        rate: share of the words that go, in (0, 1); 0.3 is BART's.
        lengths: of the runs of units that give way to one mask each; Poisson with a mean of 3, BART's, by default.
        unit: what is counted, tokens or whole words.
        permute_sentences: whether the sentences of a row are put in another order.
        frame: what stands around the text of each row, read and written too: bos-eos is BART's.
    """

    corruption: TextInfilling

    def __init__(
        self,
        rate: float = 0.3,
        lengths: SpanLengths | None = None,
        unit: Unit = "word",
        permute_sentences: bool = True,
        frame: Frame = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = TextInfilling(rate, lengths or Poisson(), unit, permute_sentences, frame)
