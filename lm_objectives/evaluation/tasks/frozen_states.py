"""Mean hidden states of texts, after a frozen backbone's middle layer and after its last."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.backbone.attention_check import check_attention
from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import is_decoder
from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.errors import InputError
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.readings.base import make_view
from lm_objectives.evaluation.scorer import autocast, batches
from lm_objectives.evaluation.tasks.base import Session
from lm_objectives.evaluation.texts import tokenize_texts
from lm_objectives.views import Attention, View

TextOrPair = tuple[str, str | None]
"""A text, and the second one where it is a pair."""


@dataclass(frozen=True, eq=False)
class FramedTexts:
    """Texts, or pairs of them, between the special tokens that a family reads around them.

        text              [BOS]  It  rained  [EOS]
        pair              [BOS]  It  rained  [EOS]  We  got  wet  [EOS]
        token_type_ids      0    0     0       0     1   1    1     1

    Attributes:
        ids: tokens of each.
        own: which of them are the text's own, rather than special ones around it.
        segments: 0 for the first of a pair and 1 for the second.
        truncated: whether an end was cut off, `(texts,)`.
        pad: token of the padding.
        paired: whether any is a pair.
    """

    ids: list[np.ndarray]
    own: list[np.ndarray]
    segments: list[np.ndarray]
    truncated: np.ndarray
    pad: int
    paired: bool

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each, special ones included, `(texts,)`."""
        return np.array([*map(len, self.ids)], dtype=np.int64)

    def view(self, which: np.ndarray, attention: Attention) -> View:
        """The view of texts number `which`, in which nothing is scored."""
        none = np.zeros(0, dtype=np.int64)
        view = make_view(_padded(self.ids, which, self.pad), self.lengths[which], attention, none, none)
        segments = torch.from_numpy(_padded(self.segments, which, 0)) if self.paired else None
        return replace(view, token_type_ids=segments)

    def mean_weights(self, which: np.ndarray) -> Float[Tensor, "rows time"]:
        """What each position of these texts counts in the mean over the tokens that are not special."""
        own = torch.from_numpy(_padded(self.own, which, 0)).float()
        return own / own.sum(1, keepdim=True).clamp_min(1)

    def batches(self, which: np.ndarray, most: int) -> Iterator[np.ndarray]:
        """Texts number `which` in batches of at most `most` tokens, the shortest first."""
        order = which[np.argsort(self.lengths[which], kind="stable")]
        for batch in batches(self.lengths[order], most):
            yield order[batch]


def frame_texts(model: EvaluatedModel, texts: Sequence[TextOrPair], prefix: Sequence[int]) -> FramedTexts:
    """Tokenize texts and frame them; of what is longer than the model reads, the longer text loses its end.

    Args:
        model: whose tokenizer and length they are for.
        texts: the texts.
        prefix: special tokens in front of each; eos stands after each, and after the first of a pair.
    """
    flat = [("", part) for text in texts for part in text if part is not None]
    tokenized, eos = tokenize_texts(model.tokenizer, flat), [model.vocabulary.eos]
    parts = iter(np.split(tokenized.tokens, tokenized.bounds[1:-1]))
    ids: list[np.ndarray] = []
    own: list[np.ndarray] = []
    segments: list[np.ndarray] = []
    truncated = np.zeros(len(texts), dtype=bool)
    for number, (_, second) in enumerate(texts):
        first, last = next(parts), np.zeros(0, dtype=np.int64) if second is None else next(parts)
        ends = 1 if second is None else 2
        room = max(model.seq_len - len(prefix) - ends, 0)
        size = min(len(first), max(room // 2, room - len(last)))
        left, right = first[:size], last[: room - size]
        truncated[number] = len(left) + len(right) < len(first) + len(last)
        pieces: list[np.ndarray | list[int]] = [np.array(prefix, dtype=np.int64), left, eos, right, eos[: ends - 1]]
        sizes = [*map(len, pieces)]
        ids.append(np.concatenate(pieces).astype(np.int64))
        own.append(np.repeat([0, 1, 0, 1, 0], sizes))
        segments.append(np.repeat([0, 0, 0, 1, 1], sizes))
    return FramedTexts(ids, own, segments, truncated, model.vocabulary.pad, any(b is not None for _, b in texts))


def prefix_for(model: EvaluatedModel, attention: Attention) -> tuple[int, ...]:
    """The special tokens that an objective of this attention reads in front of a text; bos where there is none."""
    corruptions = (model.module.sources[name].corruption for name in model.module.names)
    frames = (c.prefix_and_suffix(model.vocabulary)[0] for c in corruptions if c.attention == attention)
    return next(frames, (model.vocabulary.bos,))


def attentions_of(config: Any) -> tuple[list[Attention], str | None]:
    """The attentions that a backbone's states can be read with: both of a decoder's, and an encoder's one.

    A decoder whose layers cannot be made to see both ways is read causally alone, for the reason that is given too.

    Args:
        config: of the backbone.
    """
    if config.is_encoder_decoder or not is_decoder(config.model_type):
        return ["bidirectional"], None
    try:
        check_attention(config, ["causal", "bidirectional"])
    except InputError as error:
        return ["causal"], f"states read causally alone: {error}"
    return ["causal", "bidirectional"], None


def mean_states(
    backbone: Backbone, texts: FramedTexts, attention: Attention, session: Session, what: str
) -> dict[int, np.ndarray]:
    """States after the middle and the last layer, by the layer's number from 1, `(texts, dim)` each.

    Each is the mean over a text's tokens that are not special. After the last layer they are what heads read, after the
    family's final norm. A layer that runs several times, as ALBERT's do, counts each time; of an encoder-decoder the
    encoder's are meant.

    Args:
        backbone: in evaluation mode.
        texts: all of them.
        attention: that they are read with.
        session: has the batches' size and the precision.
        what: is shown next to the progress.
    """
    found: dict[int, np.ndarray] = {}
    device = backbone.embedding.device
    with progress_bar(what, "tokens", int(texts.lengths.sum())) as advance:
        for which in texts.batches(np.arange(len(texts.ids)), session.batch_tokens):
            weights = texts.mean_weights(which).to(device)
            view = texts.view(which, attention).to(device)
            with torch.inference_mode(), _layer_means(backbone.layers, weights) as layers:
                with autocast(device, session.precision):
                    [hidden] = backbone.encode([view])
                means = [*layers[:-1], _mean(hidden, weights)]
            for number in read_layers(len(means)):
                states = found.setdefault(number, np.empty((len(texts.ids), hidden.shape[2])))
                states[which] = means[number - 1].double().cpu().numpy()
            advance(int(texts.lengths[which].sum()))
    return found


def read_layers(depth: int) -> list[int]:
    """Numbers of the layers whose states are read, from 1: the middle one and the last."""
    return sorted({(depth + 1) // 2, depth})


@contextmanager
def _layer_means(layers: Sequence[nn.Module], weights: Float[Tensor, "rows time"]) -> Iterator[list[Tensor]]:
    """A list that fills with the weighted mean of each layer's output, in the order in which layers run."""
    means: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        means.append(_mean(output[0] if isinstance(output, tuple) else output, weights))

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield means
    finally:
        for hook in hooks:
            hook.remove()


def _mean(hidden: Float[Tensor, "rows time dim"], weights: Float[Tensor, "rows time"]) -> Float[Tensor, "rows dim"]:
    return (hidden * weights[:, :, None]).sum(1)


def _padded(arrays: Sequence[np.ndarray], which: np.ndarray, value: int) -> np.ndarray:
    """Arrays number `which`, padded on the right, `(rows, time)`."""
    chosen = [arrays[number] for number in which]
    padded = np.full((len(chosen), max(map(len, chosen))), value, dtype=np.int64)
    for row, array in zip(padded, chosen, strict=True):
        row[: len(array)] = array
    return padded
