"""Lines that show predictions of single tokens: masks filled in, replaced tokens found."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float
from torch import Tensor

from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.demo.generate import Head
from lm_objectives.demo.terminal import listed
from lm_objectives.errors import InputError
from lm_objectives.objectives.losses import gather_positions
from lm_objectives.views import Rows, View

if TYPE_CHECKING:
    from lm_objectives.demo.context import DemoContext

_GUESSES = 5


def filled(stage: "DemoContext", corruption: TokenMasking, head: Head) -> Iterator[str]:
    """Masks over the units that the objective masks, as many as in held-out rows, and the likeliest tokens for each.

    Raises:
        ValueError: where the text has nothing to mask.
    """
    units = replace(corruption.for_validation(), unit=corruption.unit, lengths=corruption.lengths)
    all_masked = replace(units, mask_share=1.0, random_share=0.0)
    rows = stage.excerpt(corruption)
    view = all_masked.corrupt(rows, stage.vocabulary)
    if not len(view.label_positions):
        raise InputError("expected a text with a token to mask, found none: give a longer text")
    probabilities = head(gather_positions(stage.hidden(view), view.label_positions)).softmax(1)
    masked = (view.label_positions + int(corruption.predict_from == "previous")).tolist()
    yield from stage.marked(rows.input_ids[0].tolist(), {at: f"[{n}]" for n, at in enumerate(masked, 1)})
    width = max(len(stage.token(target)) for target in view.targets.tolist())
    for number, (target, given) in enumerate(zip(view.targets.tolist(), probabilities, strict=True), 1):
        best, guesses = given.topk(_GUESSES)
        verdict = "hit " if guesses[0] == target else "miss"
        right = f"{stage.token(target):<{width}} {given[target]:>4.0%}"
        items = [f"{stage.token(g)} {p:.0%}" for p, g in zip(best.tolist(), guesses.tolist(), strict=True)]
        yield from listed(f"  {f'[{number}]':>4} {verdict} right: {right}   guesses: ", items)


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
