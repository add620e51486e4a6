"""Lines that show generated text: continuations, restored spans, restored documents."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.demo.generate import Head, generate, greedy_token, input_view
from lm_objectives.demo.terminal import listed, wrapped
from lm_objectives.errors import InputError

if TYPE_CHECKING:
    from lm_objectives.demo.context import DemoContext

_SMALL = 50_000_000  # parameters below which sampled text does not read as text


def continued(stage: "DemoContext", head: Head) -> Iterator[str]:
    """The prompt and a continuation; where both are longer than the window, the model sees the last of it."""
    read, sampling = input_view(stage.prompt[-stage.seq_len :], "causal"), stage.sampling
    end = stage.vocabulary.eos
    written = generate(stage.backbone, read, head, sampling.token_sampler(), sampling.tokens, end, stage.seq_len)
    yield from _told(stage, "given:    ", stage.prompt, written)


def continued_behind_prefix(
    stage: "DemoContext", head: Head, mode: Sequence[int] = (), decodes: bool = False
) -> Iterator[str]:
    """The prompt as a prefix that sees itself whole, and a continuation that fits the window with it.

    Args:
        stage: what it is shown on.
        head: of the objective.
        mode: the tokens that the objective puts in front.
        decodes: whether a decoder writes the continuation, behind an encoder that reads the prefix.
    """
    sampling, room = stage.sampling, stage.seq_len - len(mode)
    most = min(sampling.tokens, room // 2)
    prefix = stage.prompt[most - room :]
    read = input_view([*mode, *prefix], "bidirectional" if decodes else "prefix", decodes)
    written = generate(stage.backbone, read, head, sampling.token_sampler(), most, stage.vocabulary.eos, stage.seq_len)
    yield from _told(stage, "prefix:   ", prefix, written)


def _told(stage: "DemoContext", label: str, prompt: Sequence[int], written: Sequence[int]) -> Iterator[str]:
    ids = prompt[1:] if prompt[0] == stage.vocabulary.bos else prompt
    given, whole = stage.decode(ids), stage.decode([*ids, *written])
    yield from wrapped(f"{label} {given}")
    yield from wrapped(f"continued: {whole[len(given) :]}")
    size = sum(parameter.numel() for parameter in stage.backbone.parameters())
    if size < _SMALL:
        yield f"  (Text sampled from a small model is poor, and this one has {size / 1e6:.1f} M parameters.)"


_ALIGNED = 32  # characters of a span behind which what is written begins in one column


def restored(stage: "DemoContext", corruption: SpanCorruption, head: Head) -> Iterator[str]:
    """The text with sentinels, and for each what is written greedily, at most twice as much as is right.

    Raises:
        ValueError: where the text has no span to leave out.
    """
    rows = stage.excerpt_for(corruption, first=1, most=corruption.raw_length(stage.seq_len))
    view = corruption.corrupt(rows, stage.vocabulary)
    names = [token for token in corruption.special_tokens(stage.seq_len) if token != corruption.mode]
    sentinels, end = set(stage.vocabulary.token_ids(names).tolist()), stage.vocabulary.eos
    right = by_sentinel(view.targets.tolist(), sentinels, end)
    if not right:
        raise InputError("expected a text of 2 tokens to leave a span out of, found a shorter one: give a longer text")
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


def rewritten(stage: "DemoContext", corruption: TextInfilling, head: Head) -> Iterator[str]:
    """The corrupted text, what is written greedily, as many tokens as are right, and the right one.

    Raises:
        ValueError: where the text has nothing to leave out.
    """
    view = corruption.corrupt(stage.excerpt_for(corruption), stage.vocabulary)
    source, right = view.input_ids[0, : int(view.lengths)].tolist(), view.targets.tolist()
    if stage.vocabulary.mask not in source:
        raise InputError("expected a text with a word to leave out, found none: give a longer text")
    row = input_view(source, "bidirectional", decodes=True)
    told = generate(stage.backbone, row, head, greedy_token, len(right), stage.vocabulary.eos, stage.seq_len)
    outer = (stage.vocabulary.bos, stage.vocabulary.eos)
    source, written, right = ([token for token in ids if token not in outer] for ids in (source, told, right))
    for label, ids in (("corrupted:", source), ("written:  ", written), ("right:    ", right)):
        yield from wrapped(f"{label} {stage.decode(ids).strip()}")
    kept = len_common(source, right)
    yield f"  {len_common(written, right)} of {len(right)} right tokens in their order; the corrupted text has {kept}"


def len_common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common subsequence, as in ROUGE-L (Lin 2004, section 3).

    a b c d   against   x a c y d        a c d, which is 3
    """
    row = [0] * (len(right) + 1)
    for token in left:
        before = row
        row = [0]
        for column, other in enumerate(right):
            row.append(before[column] + 1 if token == other else max(before[column + 1], row[column]))
    return row[-1]
