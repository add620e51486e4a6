"""A text written anew from a corrupted one."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lm_objectives.corruption.infilling import TextInfilling
from lm_objectives.demo.layout import wrapped
from lm_objectives.demo.sampling import greedy_token
from lm_objectives.demo.writing import Head, input_view, generate

if TYPE_CHECKING:
    from lm_objectives.demo.stage import DemoContext


def rewritten(stage: "DemoContext", corruption: TextInfilling, head: Head) -> Iterator[str]:
    """The corrupted text, what is written greedily, as many tokens as are right, and the right one.

    Raises:
        ValueError: where the text has nothing to leave out.
    """
    view = corruption.corrupt(stage.excerpt_for(corruption), stage.vocabulary)
    source, right = view.input_ids[0, : int(view.lengths)].tolist(), view.targets.tolist()
    if stage.vocabulary.mask not in source:
        raise ValueError("expected a text with a word to leave out, found none: give a longer text")
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
