"""Writing the spans that sentinels stand for."""

from typing import Any

from lm_objectives.corruptions.base import Layout
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.objectives.language_model import OwnHead


class SpanDenoising(OwnHead):
    """The spans that gave way to sentinels: L = −Σ ln p(y_t | y_<t, corrupted x), in nats per written token.

    T5 (Raffel et al. 2020, section 3.1.4); with other rates, means and modes UL2's R and X denoisers (Tay et al. 2023,
    section 3.1). Sentinels and the end are written and scored like any token. The head is the family's own: the token
    embedding, in front of which T5 divides hidden states by √dim, or a linear map where the configuration does not tie
    it, as in T5 1.1.

    Args:
        rate: share of the tokens that are noise, in (0, 1); 0.15 is T5's.
        mean: tokens of a span on average, at least 1; 3.0 is T5's.
        layout: whether a decoder writes the spans behind an encoder, or one row holds both, its input as a prefix.
        mode: a token put in front of the input, such as UL2's "[R]".
    """

    corruption: SpanCorruption

    def __init__(
        self,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        layout: Layout = "encoder-decoder",
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = SpanCorruption(noise_density, mean_noise_span_length, layout, mode)
