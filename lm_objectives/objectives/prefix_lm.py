"""Next-token prediction behind a prefix."""

from typing import Any

from lm_objectives.corruptions.base import Layout
from lm_objectives.corruptions.prefix_lm import PrefixNextToken
from lm_objectives.objectives.language_model import OwnHead


class PrefixLM(OwnHead):
    """Each token behind a prefix of p from all before it: L = −Σ_{t ≥ p} ln p(x_t | x_<t), in nats per predicted token.

    Raffel et al. 2020, section 3.2.1; with a mode token UL2's S denoiser (Tay et al. 2023, section 3.1.2). Tokens of
    the prefix see all of it, and are not predicted. The head is the family's own, as in `CausalLM` and, behind a
    decoder, in `SpanDenoising`.

    Args:
        prefix_share: the prefix's part of a row, in (0, 1); by default every split of a row is as likely.
        mode: a special token put in front of each row, such as "[S]".
        layout: whether one row holds both, or a decoder writes what stands behind the prefix, which an encoder reads.
    """

    def __init__(
        self, prefix_share: float | None = None, mode: str | None = None, layout: Layout = "prefix", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.corruption = PrefixNextToken(prefix_share, mode, layout)
