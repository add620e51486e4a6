"""The verdicts of a study in plain sentences."""

from lm_objectives.comparison.evidence.claims import ClaimTest, Contrast
from lm_objectives.comparison.evidence.metrics import (
    describe,
    format_amount,
    format_difference,
    format_p,
    format_range,
    unit,
)
from lm_objectives.comparison.records import PlanRecord
from lm_objectives.comparison.study import ArmAt, Claim
from lm_objectives.comparison.wording import listed

SUM_OF_PARTS = "1 + 1 > 2?"
"""Stands before a claim that a mix is better than each of its parts."""

_MANY = 1000  # seeds that nobody trains


def sentence(test: ClaimTest) -> str:
    """The claim, what became of it, and where the evidence ends."""
    said = f"{claim_text(test.claim, test.number)} on {describe(test.number)}: {_answer(test)}"
    failed = ", ".join(f"{n} of {runs} runs of {arm} failed" for arm, (n, runs) in test.failed.items())
    return f"{said} {failed[0].upper()}{failed[1:]}." if failed and failed not in said else said


def claim_text(claim: Claim, number: str) -> str:
    """What is claimed, without the number it is claimed on."""
    others = listed(claim.others)
    if claim.within is None:
        return f"{claim.arm} better than {others}"
    margin = format_amount(number, claim.within)
    if claim.kind == "equal":
        return f"{claim.arm} equal to {others} within {margin}"
    return f"{claim.arm} not worse than {others} by {margin}"


def is_sum_of_parts(claim: Claim, plan: PlanRecord) -> bool:
    """Whether a claim says that a mix is better than several arms, each of which has a part of its objectives."""
    objectives = {arm.arm: {*arm.objectives} for arm in plan.arms}
    whole, *parts = (objectives.get(ArmAt.parse(text).arm, set()) for text in (claim.arm, *claim.others))
    return claim.kind == "better" and len(parts) > 1 and all(part and part < whole for part in parts)


def short(test: ClaimTest) -> str:
    """A few words for a table, where the row's arm is the claim's.

    >>> from lm_objectives.comparison.evidence.claims import Contrast
    >>> contrast = Contrast("mixed", "causal")
    >>> claim = Claim(on=["swaps/causal"], better="mixed", than=["causal"])
    >>> short(ClaimTest(claim, "swaps/causal/accuracy", (contrast,), {}, None, 0.05, why_not="2 of 5 seeds are done"))
    'no verdict'
    """
    claim = test.claim
    if test.outcome == "no verdict" or test.adjusted is None:
        return "no verdict"
    margin = "" if claim.within is None else f" within {format_amount(test.number, claim.within)}"
    word = {"better": "better", "equal": "equal", "not_worse": "not worse"}[claim.kind]
    if test.outcome == "not shown":
        return f"{f'{word}{margin}: ' if margin else ''}not decided{_seeds_would_show(test)}"
    won, counted = test.limiting.wins, ""
    if test.outcome == "opposite":
        word = "worse"
    if claim.kind == "better" and won is not None:
        counted = f"; {won.lost if word == 'worse' else won.won} of {len(test.limiting.seeds)}"
    return f"{word}{margin} (Holm p {format_p(test.adjusted, test.level)}{counted})"


def _answer(test: ClaimTest) -> str:
    if test.outcome == "no verdict" or test.adjusted is None:
        found = _found(test)
        return f"no verdict: {test.why_not}.{f' Found: {found}.' if found else ''}"
    p = f"Holm p {format_p(test.adjusted, test.level)}"
    if test.outcome == "not shown":
        seeds = len(test.limiting.seeds)
        shows = format_amount(test.number, test.could_show or 0.0)
        shows = shows if test.claim.within is None else f"a difference of {shows}"
        return (
            f"not shown ({p}). The evidence ends here: {seeds} seeds could have shown {shows}{_seeds_would_show(test)}."
        )
    if test.outcome == "opposite":
        return f"no, {_found(test)}, {p}."
    found = _found(test)
    return f"yes, {found.removeprefix('better ') if len(test.contrasts) == 1 else found}, {p}."


def _seeds_would_show(test: ClaimTest) -> str:
    """The seeds that would show the margin, or what was found, where there are fewer."""
    difference = test.limiting.difference
    if test.needed is None or difference is None or test.needed <= difference.n:
        return ""
    goal = difference.mean if test.claim.within is None else test.claim.within
    seeds = f"more than {_MANY:,}" if test.needed > _MANY else f"{test.needed}"
    return f"; {seeds} would show {format_amount(test.number, goal)}"


def _found(test: ClaimTest) -> str:
    """The differences, with their intervals and the seeds that were won."""
    return ", and ".join(filter(None, (_difference(test, contrast) for contrast in test.contrasts)))


def _difference(test: ClaimTest, contrast: Contrast) -> str:
    difference, number = contrast.difference, test.number
    if difference is None or contrast.wins is None:
        return ""
    against = f" than {contrast.other}" if len(test.contrasts) > 1 else ""
    interval = difference.interval
    if test.claim.within is not None:
        ends = "" if interval is None else f"{format_range(number, interval.low, interval.high)}; "
        said = f"{format_difference(number, difference.mean)} {unit(number)} ({ends}+ is better)"
        return f"{said} against {contrast.other}" if against else said
    better = difference.mean >= 0
    low, high = (0.0, 0.0) if interval is None else (interval.low, interval.high)
    ends = format_range(number, *((low, high) if better else (-high, -low)))
    won = contrast.wins.won if better else contrast.wins.lost
    size = format_amount(number, abs(difference.mean))
    return (
        f"{'better' if better else 'worse'}{against} by {size}{'' if interval is None else f' ({ends})'}, "
        f"{won} of {len(contrast.seeds)} seeds"
    )
