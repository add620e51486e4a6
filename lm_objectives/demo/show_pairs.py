"""Demo lines for pairs of segments: two parts of a text in both orders, or its second part and one of another text."""

from collections.abc import Iterator, Mapping

import numpy as np

from lm_objectives.corruptions.segment_pairs import PAIR_SPECIAL_TOKENS, pair_rows
from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.show import show
from lm_objectives.demo.terminal import wrap
from lm_objectives.errors import expect
from lm_objectives.objectives import NextSentence, Objective, SentenceOrder

Segments = Mapping[str, tuple[int, int]]
"""Where segments start and stop in a text's tokens, by name."""

_LONGER = "give a longer text, or one of shorter sentences"


@show.register(SentenceOrder)
def show_sentence_order(objective: SentenceOrder, context: DemoContext) -> Iterator[str]:
    """Two parts of the text in both orders.

    Raises:
        InputError: where the text has no pair.
    """
    corruption, text, room = objective.corruption, context.text.stream(objective.corruption), context.module.seq_len
    windows = corruption.windows(text, room, packing=False)
    expected = f"two sentences in a {corruption.within} that fit the window of {room} tokens together"
    expect(bool(len(windows)), expected, "none in the text", _LONGER)
    pair = corruption.read_rows(text, windows[:1], context.keys(), room, context.vocabulary)
    assert pair.token_type_ids is not None and pair.labels is not None
    second = int(pair.token_type_ids.sum()) - 1  # tokens without eos
    sizes = int(pair.lengths[0]) - PAIR_SPECIAL_TOKENS - second, second
    ordered = sizes[::-1] if pair.labels[0] else sizes
    start, stop = windows[0].tolist()
    segments = {"first": (start, start + ordered[0]), "second": (stop - ordered[1], stop)}
    orders = {"in their order": ("first", "second"), "swapped": ("second", "first")}
    yield from judge_pairs(objective, context, segments, orders)


@show.register(NextSentence)
def show_next_sentence(objective: NextSentence, context: DemoContext) -> Iterator[str]:
    """Two parts of the text one after the other, and the first followed by a part of another text.

    Raises:
        InputError: where the text has no pair.
    """
    text, room = context.with_another.stream(objective.corruption), context.module.seq_len
    half = (room - PAIR_SPECIAL_TOKENS) // 2
    own, another = np.split(text.sentences, np.searchsorted(text.sentences[:, 0], text.documents[1:2]))
    first = _fitting(own[:-1], min(half, len(context.text.tokens) // 2))
    parts = {"first": first, "next": _fitting(own[len(first) :], half), "another": _fitting(another, half)}
    fit = all(len(part) and part[-1, 1] - part[0, 0] <= half for part in parts.values())
    expected = f"two sentences that each fit half the window of {room} tokens"
    expect(fit, expected, "none at the beginning of the text", _LONGER)
    segments = {name: (int(part[0, 0]), int(part[-1, 1])) for name, part in parts.items()}
    orders = {"with the next": ("first", "next"), "with another": ("first", "another")}
    yield from judge_pairs(objective, context, segments, orders)


def judge_pairs(
    objective: Objective, context: DemoContext, segments: Segments, pairs: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    """Lines of segments, and of the probability that the head gives to what two pairs of them are.

    Args:
        objective: whose loss is −ln p(label), summed over pairs.
        context: what it is shown on.
        segments: of `context.with_another`.
        pairs: names of a first and a second segment, by what they are together; of label 0, then of label 1.
    """
    text = context.with_another.stream(objective.corruption)
    width = max(map(len, segments)) + 1
    for name, (start, stop) in segments.items():
        yield from wrap(f"{name + ':':<{width}} {context.decode(text.tokens[start:stop].tolist())}")
    width = max(map(len, pairs))
    for label, (kind, names) in enumerate(pairs.items()):
        pair, labels = np.array([[segments[name] for name in names]]), np.array([label])
        rows = pair_rows(text, pair, context.keys(), labels, context.module.seq_len, context.vocabulary)
        right = float(context.score(objective, rows)[1].loss_sums["loss"].neg().exp())
        verdict = "hit " if right > 0.5 else "miss"
        yield f"  {verdict} shown {kind:<{width}}  judged so with {right:.0%}"


def _fitting(sentences: np.ndarray, most: int) -> np.ndarray:
    """The first sentences, as many as take at most so many tokens, one at least where there is one."""
    return sentences[: max(int(np.count_nonzero(sentences[:, 1] - sentences[:1, 0] <= most)), 1)]
