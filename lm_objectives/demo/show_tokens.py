"""Demo lines for predictions of single tokens: masks filled in, replaced tokens found."""

from collections.abc import Iterator
from dataclasses import replace

from lm_objectives.demo.context import DemoContext
from lm_objectives.demo.show import show
from lm_objectives.demo.terminal import list_items
from lm_objectives.errors import expect
from lm_objectives.objectives import MaskedLM, ReplacedToken

_GUESSES = 5


@show.register(MaskedLM)
def show_masked_lm(objective: MaskedLM, context: DemoContext) -> Iterator[str]:
    """Masks over the units that the objective masks, as many as in held-out rows, and the likeliest tokens for each.

    Raises:
        InputError: where the text has nothing to mask.
    """
    trained, rows = objective.corruption, context.excerpt(objective.corruption)
    units = replace(trained.for_validation(), unit=trained.unit, lengths=trained.lengths)
    view = replace(units, mask_share=1.0, random_share=0.0).corrupt(rows, context.vocabulary)
    expect(bool(len(view.label_positions)), "a text with a token to mask", "none", "give a longer text")
    backbone = context.module.backbone
    probabilities = objective.logits(backbone.encode_labelled(view), backbone.embedding).softmax(1)
    masked = (view.label_positions + int(trained.predict_from == "previous")).tolist()
    ids = rows.input_ids[0, : int(rows.lengths[0])].tolist()
    yield from context.mark(ids, {at: f"[{n}]" for n, at in enumerate(masked, 1)})
    width = max(len(context.quote(target)) for target in view.targets.tolist())
    for number, (target, given) in enumerate(zip(view.targets.tolist(), probabilities, strict=True), 1):
        best, guesses = given.topk(_GUESSES)
        verdict = "hit " if guesses[0] == target else "miss"
        right = f"{context.quote(target):<{width}} {given[target]:>4.0%}"
        items = [f"{context.quote(g)} {p:.0%}" for p, g in zip(best.tolist(), guesses.tolist(), strict=True)]
        yield from list_items(f"  {f'[{number}]':>4} {verdict} right: {right}   guesses: ", items)


@show.register(ReplacedToken)
def show_replaced_token(objective: ReplacedToken, context: DemoContext) -> Iterator[str]:
    """Tokens that the generator replaced, and those that the discriminator takes for replaced."""
    rows = context.excerpt(objective.corruption)
    view, output = context.score(objective, rows)
    scores, labels = output.metric_inputs["auc"]  # of each token: probability to be replaced, and whether it is
    replaced = labels.bool()
    shown = (replaced | (scores > 0.5)).nonzero().flatten().tolist()
    ids, was = (of.input_ids[0, : int(of.lengths[0])].tolist() for of in (view, rows))
    yield from context.mark(ids, {at: f"{context.decode([ids[at]]).strip()}[{n}]" for n, at in enumerate(shown, 1)})
    width = max((len(context.quote(ids[at])) for at in shown), default=0)
    for number, at in enumerate(shown, 1):
        verdict = "alarm" if not replaced[at] else "hit  " if scores[at] > 0.5 else "miss "
        origin = f"was {context.quote(was[at])}" if replaced[at] else "is the original"
        token = f"{context.quote(ids[at]):<{width}}"
        yield f"  {f'[{number}]':>4} {verdict} {scores[at]:>4.0%} replaced   {token}  {origin}"
    kinds = {"replaced tokens": replaced, "originals": ~replaced}
    means = [f"{scores[at].mean():.0%} for {int(at.sum())} {kind}" for kind, at in kinds.items() if at.any()]
    yield f"  mean probability of being replaced: {', '.join(means)}"
