"""How the next token is chosen: the likeliest, or drawn from the nucleus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lm_objectives.errors import InputError
from lm_objectives.views import Attention, View

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone

TokenSampler = Callable[[Tensor], int]
"""From the logits of the next token, `(vocab,)`, to that token."""


@dataclass(frozen=True)
class Sampling:
    """How continuations are written.

    Attributes:
        tokens: length of a continuation, at least 1.
        temperature: above 0; below 1 prefers likely tokens.
        top_p: share of the probability that tokens are drawn from, in (0, 1].
        greedy: whether the likeliest token is taken each time, whatever the two above.
        seed: of the draws.
    """

    tokens: int = 40
    temperature: float = 0.8
    top_p: float = 0.9
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"expected at least 1 token to continue with, found {self.tokens}: 40 are a few lines")
        if not self.temperature > 0:
            raise InputError(f"expected a temperature above 0, found {self.temperature}: 0.8 is usual")
        if not 0 < self.top_p <= 1:
            raise InputError(f"expected top_p above 0 and at most 1, found {self.top_p}: 0.9 is usual")

    def token_sampler(self) -> TokenSampler:
        """A choice of tokens that begins with the seed."""
        if self.greedy:
            return greedy_token
        generator = torch.Generator().manual_seed(self.seed)
        return lambda logits: sample_token(logits, self.temperature, self.top_p, generator)


def greedy_token(logits: Float[Tensor, " vocab"]) -> int:
    """The token with the largest logit, the first of equals."""
    return int(logits.argmax())


def nucleus(
    logits: Float[Tensor, " vocab"], temperature: float, top_p: float
) -> tuple[Float[Tensor, " vocab"], Int[Tensor, " vocab"]]:
    """Weights of the tokens from the likeliest on, 0 outside the nucleus, and the tokens.

    p = softmax(logits / temperature); the nucleus is the fewest tokens that hold `top_p` of it: a token stays where
    those before it hold less. Holtzman et al. 2020, section 3.1.
    """
    probabilities, tokens = (logits.double() / temperature).softmax(0).sort(descending=True, stable=True)
    return probabilities * (probabilities.cumsum(0) - probabilities < top_p), tokens


def sample_token(logits: Float[Tensor, " vocab"], temperature: float, top_p: float, generator: torch.Generator) -> int:
    """A token drawn from the nucleus."""
    weights, tokens = nucleus(logits, temperature, top_p)
    return int(tokens[torch.multinomial(weights, 1, generator=generator)])


Head = Callable[[Tensor], Tensor]
"""From hidden states to logits, `(positions, dim)` to `(positions, vocab)`."""


def input_view(ids: Sequence[int], attention: Attention, decodes: bool = False) -> View:
    """The view of one row that is read and not scored; with "prefix" attention all of it is the prefix.

    Args:
        ids: its tokens.
        attention: whether a token sees those before it or all.
        decodes: whether a decoder writes behind it.
    """
    nothing, length = torch.zeros(0, dtype=torch.long), torch.tensor([len(ids)])
    return View(
        input_ids=torch.tensor([ids]),
        lengths=length,
        attention=attention,
        label_positions=nothing,
        targets=nothing,
        counts={},
        prefix_lengths=length if attention == "prefix" else None,
        decoder_labels=torch.zeros(1, 0, dtype=torch.long) if decodes else None,
    )


@torch.no_grad()
def generate(
    backbone: "Backbone", read: View, head: Head, choose: TokenSampler, most: int, end: int, window: int
) -> list[int]:
    """What a model writes behind a row, by the decoder where the view has one write.

    Args:
        backbone: the model.
        read: one row, as `reading` makes it.
        head: of the objective.
        choose: the next token from its logits.
        most: tokens to write at most.
        end: the token that ends the text.
        window: tokens that the model sees; in one row that is longer the first are forgotten.
    """
    written: list[int] = []
    while len(written) < most and end not in written[-1:]:
        [hidden] = backbone.encode([_behind(read, written, window)])
        written.append(choose(head(hidden[:, -1])[0]))
    return written


def _behind(read: View, written: Sequence[int], window: int) -> View:
    """The row with what is written so far; the last state is that of the next token."""
    tokens = torch.tensor([written], dtype=torch.long)
    if read.decoder_labels is not None:
        return replace(read, decoder_labels=F.pad(tokens, (0, 1)))  # a decoder reads one place later, so never the last
    ids = torch.cat([read.input_ids, tokens], dim=1)[:, -window:]
    return replace(read, input_ids=ids, lengths=torch.tensor([ids.shape[1]]))
