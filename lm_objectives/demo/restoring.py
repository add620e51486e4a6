"""Spans restored: what a model writes for each sentinel, beside what it stands for."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from lm_objectives.corruption.named import token_ids_of
from lm_objectives.corruption.spans import SpanCorruption
from lm_objectives.demo.layout import listed, wrapped
from lm_objectives.demo.sampling import greedy_token
from lm_objectives.demo.writing import Head, input_view, generate

if TYPE_CHECKING:
    from lm_objectives.demo.stage import DemoContext

_ALIGNED = 32  # characters of a span behind which what is written begins in one column


def restored(stage: "DemoContext", corruption: SpanCorruption, head: Head) -> Iterator[str]:
    """The text with sentinels, and for each what is written greedily, at most twice as much as is right.

    Raises:
        ValueError: where the text has no span to leave out.
    """
    rows = stage.excerpt_for(corruption, first=1, most=corruption.raw_length(stage.seq_len))
    view = corruption.corrupt(rows, stage.vocabulary)
    names = [token for token in corruption.special_tokens(stage.seq_len) if token != corruption.mode]
    sentinels, end = set(token_ids_of(stage.vocabulary, names).tolist()), stage.vocabulary.eos
    right = by_sentinel(view.targets.tolist(), sentinels, end)
    if not right:
        raise ValueError("expected a text of 2 tokens to leave a span out of, found a shorter one: give a longer text")
    read = view.lengths if view.prefix_lengths is None else view.prefix_lengths
    source = view.input_ids[0, : int(read)].tolist()
    most = min(2 * len(view.targets), stage.seq_len - (0 if corruption.uses_decoder else len(source)))
    row = input_view(source, view.attention, corruption.uses_decoder)
    told = generate(stage.backbone, row, head, greedy_token, most, end, stage.seq_len)
    written = by_sentinel(told, sentinels, end)
    yield from wrapped(stage.decode([token for token in source if token != end]).strip())
    names_width = max(len(stage.decode([token])) for token in right)
    width = min(max(len(stage.quoted(span)) for span in right.values()), _ALIGNED)
    for token, span in right.items():
        verdict = "hit " if written.get(token) == span else "miss"
        guess = stage.quoted(written[token]) if token in written else "nothing"
        items = [f"right: {stage.quoted(span):<{width}}", f"written: {guess}"]
        yield from listed(f"  {stage.decode([token]):<{names_width}} {verdict} ", items)
    hits = sum(written.get(token) == span for token, span in right.items())
    yield f"  {hits} of {len(right)} spans restored"


def by_sentinel(ids: Sequence[int], sentinels: Collection[int], end: int) -> dict[int, list[int]]:
    """The tokens behind each sentinel, where it comes first, up to the next or the end.

    <0>  for  inviting  <1>  last  week  [EOS]        <0>: for inviting    <1>: last week
    """
    found: dict[int, list[int]] = {}
    span: list[int] = []
    for token in ids:
        if token == end:
            break
        if token in sentinels:
            span = []
            found.setdefault(token, span)
        else:
            span.append(token)
    return found
