"""How the next token is chosen: the likeliest, or drawn from the nucleus."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
            raise ValueError(f"expected at least 1 token to continue with, found {self.tokens}: 40 are a few lines")
        if not self.temperature > 0:
            raise ValueError(f"expected a temperature above 0, found {self.temperature}: 0.8 is usual")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"expected top_p above 0 and at most 1, found {self.top_p}: 0.9 is usual")

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
