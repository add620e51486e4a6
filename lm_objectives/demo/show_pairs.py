"""Pairs of segments judged: two parts of a text in both orders, or its second part beside one from elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lm_objectives.corruptions.segment_pairs import PAIR_SPECIAL_TOKENS, pair_rows
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.demo.terminal import wrapped
from lm_objectives.errors import InputError
from lm_objectives.views import Rows

if TYPE_CHECKING:
    from lm_objectives.demo.context import DemoContext
    from lm_objectives.objectives.base import Objective


def judged(
    objective: "Objective", stage: "DemoContext", segments: Mapping[str, np.ndarray], pairs: Mapping[str, Rows]
) -> Iterator[str]:
    """Segments, and what the head makes of pairs of them.

    Args:
        objective: whose loss is −ln p(label), summed over pairs.
        stage: what it is shown on.
        segments: tokens by what they are called.
        pairs: one row each, by what it shows.
    """
    width = max(map(len, segments))
    for name, ids in segments.items():
        yield from wrapped(f"{f'{name}:':<{width + 1}} {stage.decode(ids.tolist())}")
    width = max(map(len, pairs))
    for told, rows in pairs.items():
        view = objective.corruption.corrupt(rows, stage.vocabulary)
        outcome = objective.compute_loss(stage.hidden(view), view, stage.backbone.embedding)
        right = float(outcome.loss_sums["loss"].neg().exp())
        verdict = "hit " if right > 0.5 else "miss"
        yield f"  {verdict} shown {told:<{width}}  judged so with {right:.0%}"


def orders_judged(objective: "Objective", stage: "DemoContext", corruption: SentenceOrderPairs) -> Iterator[str]:
    """Two parts of the text in both orders.

    Raises:
        ValueError: where the text has no pair.
    """
    text = stage.text.stream(corruption)
    spans = corruption.windows(text, stage.seq_len, packing=False)
    if not len(spans):
        raise InputError(
            f"expected two sentences in a {corruption.within} that fit the window of {stage.seq_len} tokens together, "
            "found none in the text: give a longer text, or one of shorter sentences"
        )
    drawn = corruption.read_rows(text, spans[np.array([0])], stage.key, stage.seq_len, stage.vocabulary)
    assert drawn.labels is not None
    ordered, swapped = (drawn, swap(drawn)) if not drawn.labels[0] else (swap(drawn), drawn)
    first, second = segments_of(ordered)
    pairs = {"in their order": ordered, "swapped": swapped}
    yield from judged(objective, stage, {"first": first, "second": second}, pairs)


def successions_judged(objective: "Objective", stage: "DemoContext") -> Iterator[str]:
    """Two parts of the text one behind the other, and the first with a part of another text behind it.

    Raises:
        ValueError: where the text has no pair.
    """
    text, half = stage.with_another.stream(objective.corruption), (stage.seq_len - PAIR_SPECIAL_TOKENS) // 2
    [own, another] = np.split(np.asarray(text.sentences), np.searchsorted(text.sentences[:, 0], text.documents[1:2]))
    middle = _fitting(own[:-1], min(half, len(stage.text.tokens) // 2))
    first, second = own[:middle], own[middle:]
    second = second[: _fitting(second, half)]
    another = another[: _fitting(another, half)]
    if any(len(part) == 0 or part[-1, 1] - part[0, 0] > half for part in (first, second, another)):
        raise InputError(
            f"expected two sentences that each fit half the window of {stage.seq_len} tokens, found none at the "
            "beginning of the text: give a longer text, or one of shorter sentences"
        )
    places = [(part[0, 0], part[-1, 1]) for part in (first, second, another)]
    beside = np.array([[places[0], places[1]], [places[0], places[2]]])
    pairs = [
        pair_rows(text, beside[[label]], stage.key, np.array([label]), stage.seq_len, stage.vocabulary)
        for label in range(2)
    ]
    names = ("first", "next", "another")
    segments = {name: text.tokens[start:stop] for name, (start, stop) in zip(names, places, strict=True)}
    yield from judged(objective, stage, segments, {"with the next": pairs[0], "with another": pairs[1]})


def _fitting(sentences: np.ndarray, most: int) -> int:
    """How many of the first sentences take at most so many tokens, one at least where there is one."""
    within = int(np.count_nonzero(sentences[:, 1] - sentences[:1, 0] <= most))
    return max(within, min(1, len(sentences)))


def segments_of(pair: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Both segments of one row of `SegmentPairs`, without the tokens around them."""
    assert pair.token_type_ids is not None
    second, length = int(pair.token_type_ids[0].argmax()), int(pair.lengths[0])
    return pair.input_ids[0, 1 : second - 1], pair.input_ids[0, second : length - 1]


def swap(pair: Rows) -> Rows:
    """One row of `SegmentPairs` with its segments in the other order.

    [CLS] It rained. [SEP] Nobody minded. [SEP]   ->   [CLS] Nobody minded. [SEP] It rained. [SEP]
    """
    assert pair.token_type_ids is not None and pair.labels is not None
    first, second = segments_of(pair)
    ids, segments = pair.input_ids.copy(), np.zeros_like(pair.token_type_ids)
    start, length = len(second) + 2, int(pair.lengths[0])
    separator = pair.input_ids[0, length - 1 : length]
    ids[0, 1 : length - 1] = np.concatenate([second, separator, first])
    segments[0, start:length] = 1
    return replace(pair, input_ids=ids, token_type_ids=segments, labels=1 - pair.labels)
