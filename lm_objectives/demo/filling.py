"""Masks filled in: the likeliest tokens for each, beside what was right."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lm_objectives.corruption.masking import TokenMasking
from lm_objectives.demo.layout import listed
from lm_objectives.demo.writing import Head
from lm_objectives.scoring import gather_positions

if TYPE_CHECKING:
    from lm_objectives.demo.stage import DemoContext

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
        raise ValueError("expected a text with a token to mask, found none: give a longer text")
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
