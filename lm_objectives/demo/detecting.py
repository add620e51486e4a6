"""Replaced tokens found, missed, and suspected where there are none."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.corruption.base import Rows, View

if TYPE_CHECKING:
    from lm_objectives.demo.stage import DemoContext


def detected(
    stage: "DemoContext", rows: Rows, view: View, replaced: Bool[Tensor, " time"], scores: Float[Tensor, " time"]
) -> Iterator[str]:
    """Tokens that are replaced, and those that are taken for it.

    Args:
        stage: what it is shown on.
        rows: one row of text.
        view: the same with some tokens replaced.
        replaced: which of them are.
        scores: probability of each to be replaced, as judged.
    """
    shown = (replaced | (scores > 0.5)).nonzero().flatten().tolist()
    ids, was = view.input_ids[0].tolist(), rows.input_ids[0].tolist()
    marks = {at: f"{stage.decode([ids[at]]).strip()}[{n}]" for n, at in enumerate(shown, 1)}
    yield from stage.marked(ids, marks)
    width = max((len(stage.token(ids[at])) for at in shown), default=0)
    for number, at in enumerate(shown, 1):
        verdict = "alarm" if not replaced[at] else "hit  " if scores[at] > 0.5 else "miss "
        origin = f"was {stage.token(was[at])}" if replaced[at] else "is the original"
        yield f"  {f'[{number}]':>4} {verdict} {scores[at]:>4.0%} replaced   {stage.token(ids[at]):<{width}}  {origin}"
    kinds = {"replaced tokens": replaced, "originals": ~replaced}
    means = [f"{scores[at].mean():.0%} for {int(at.sum())} {kind}" for kind, at in kinds.items() if at.any()]
    yield f"  mean probability of being replaced: {', '.join(means)}"
