"""Text generation token by token, greedy or sampled from the nucleus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lm_objectives.backbone import encode
from lm_objectives.errors import expect
from lm_objectives.objectives.language_model import LanguageModelObjective
from lm_objectives.training.module import Pretraining
from lm_objectives.views import Attention, View

TokenSampler = Callable[[Tensor], int]
"""From the logits of the next token, `(vocab,)`, to that token."""


@dataclass(frozen=True)
class Sampling:
    """How continuations are generated.

    Attributes:
        tokens: length of a continuation, at least 1.
        temperature: above 0; below 1 prefers likely tokens.
        top_p: share of the probability that tokens are drawn from, in (0, 1].
        greedy: whether the likeliest token is taken each time, whatever the two above.
        seed: of the samples.
    """

    tokens: int = 40
    temperature: float = 0.8
    top_p: float = 0.9
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        expect(self.tokens >= 1, "at least 1 token to continue with", self.tokens, "40 are a few lines")
        expect(self.temperature > 0, "a temperature above 0", self.temperature, "0.8 is usual")
        expect(0 < self.top_p <= 1, "top_p above 0 and at most 1", self.top_p, "0.9 is usual")

    def token_sampler(self) -> TokenSampler:
        """A function that chooses tokens, from softmax(logits / temperature) cut to its nucleus where it samples.

        The nucleus is the fewest tokens that hold `top_p` of the probability (Holtzman et al. 2020, section 3.1).
        """
        if self.greedy:
            return greedy_token
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        warpers = LogitsProcessorList([TemperatureLogitsWarper(float(self.temperature)), TopPLogitsWarper(self.top_p)])
        generator, ids = torch.Generator().manual_seed(self.seed), torch.LongTensor([[]])

        def sample_token(logits: Float[Tensor, " vocab"]) -> int:
            probabilities = warpers(ids, logits[None].double()).softmax(1)
            return int(torch.multinomial(probabilities, 1, generator=generator))

        return sample_token


def greedy_token(logits: Float[Tensor, " vocab"]) -> int:
    """The token with the largest logit, the first of equals."""
    return int(logits.argmax())


def input_view(
    ids: Sequence[int], attention: Attention, prefix_length: int = 0, decoder_ids: Sequence[int] | None = None
) -> View:
    """The view of one row that is read without labels.

    Args:
        ids: its tokens.
        attention: as in `View`.
        prefix_length: tokens that see one another, where `attention` is "prefix".
        decoder_ids: what a decoder has generated so far, `None` where there is no decoder.
    """
    view = encode.input_view(torch.tensor([ids]), attention, prefix=prefix_length)
    # a decoder reads its ids one position later, so never the last
    decoder = None if decoder_ids is None else torch.tensor([[*decoder_ids, 0]])
    return replace(view, decoder_labels=decoder)


@torch.no_grad()
def generate(
    objective: LanguageModelObjective, module: Pretraining, ids: Sequence[int], sampler: TokenSampler, most: int
) -> list[int]:
    """The tokens that a model generates after an input, by its decoder where the objective uses one.

    transformers' `generate` takes neither a prefix that sees itself whole nor an objective's own head.

    Args:
        objective: its head gives the logits, its corruption the attention.
        module: has the backbone; tokens end with its `eos`, and of a row longer than its window the first are dropped.
        ids: the input.
        sampler: chooses the next token.
        most: tokens to generate at most.
    """
    generated: list[int] = []
    attention, decodes = objective.corruption.attention, objective.corruption.uses_decoder
    while len(generated) < most and module.vocabulary.eos not in generated[-1:]:
        row, written = (ids, generated) if decodes else ([*ids, *generated][-module.seq_len :], None)
        [hidden] = module.backbone.encode([input_view(row, attention, len(ids), written)])
        generated.append(sampler(objective.logits(hidden[:, -1], module.backbone.embedding)[0]))
    return generated
