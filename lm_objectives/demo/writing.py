"""Tokens that a model writes one after another, each from a pass over all that it has read and written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_objectives.corruption.base import Attention, View
from lm_objectives.demo.sampling import TokenSampler

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone

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
def generate(backbone: "Backbone", read: View, head: Head, choose: TokenSampler, most: int, end: int, window: int) -> list[int]:
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
