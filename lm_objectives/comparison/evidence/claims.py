"""Test the claims of a study on its runs: differences within seeds, one adjusted p-value for each claim and number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lm_objectives.comparison.evidence.metrics import claimed_direction, complete
from lm_objectives.comparison.evidence.power import more_items_help, seeds_to_show, smallest_detectable
from lm_objectives.comparison.evidence.run_table import Look, RunTable
from lm_objectives.comparison.evidence.statistics import (
    LEAST_SEEDS,
    Difference,
    Wins,
    better_than_all,
    equivalence_p,
    holm,
    noninferiority_p,
    paired_difference,
    sign_flip_p,
    wins,
)
from lm_objectives.comparison.study import Claim
from lm_objectives.comparison.wording import count

Outcome = Literal["shown", "opposite", "not shown", "no verdict"]

_FEWEST_FLIPS = 6  # seeds below which no flip of signs reaches .05


@dataclass(frozen=True)
class Contrast:
    """One arm against another on one number.

    Attributes:
        arm, other: what is compared, as a claim writes it: `masked@0.5` is masked with half of the largest budget.
        seeds: those that both were trained with, and neither failed with.
        difference: + where `arm` is better; `None` without a seed.
        wins: seeds in which `arm` is better.
        sign_flip_p: next to the t test, from 6 seeds on.
        item_se: of one run's number over its items, the larger of both arms'; `None` where it has none.
    """

    arm: str
    other: str
    seeds: tuple[int, ...] = ()
    difference: Difference | None = None
    wins: Wins | None = None
    sign_flip_p: float | None = None
    item_se: float | None = None

    @property
    def more_items_help(self) -> bool | None:
        """Whether items vary it more than seeds do; `None` where that is not known."""
        if self.item_se is None or self.difference is None or self.difference.sd is None:
            return None
        return more_items_help(self.difference.sd, self.item_se)


@dataclass(frozen=True)
class ClaimTest:
    """What became of one number of a claim.

    Attributes:
        claim: as planned.
        number: its whole name.
        contrasts: the claim's arm against each of the others.
        failed: failed runs of each arm of the claim, and how many there are, where any failed.
        p: two-sided for one other arm, the largest one-sided one for several or with a margin; `None` where nothing is
            decided yet.
        adjusted: `p` by Holm over all claims and numbers of the study.
        level: that `adjusted` has to be below.
        outcome: `opposite` where the other arm is the better one.
        why_not: for no verdict, the reason.
        could_show: the difference that so many seeds show with a power of 80 %; `None` for fewer than three.
        needed: the seeds that would show the difference that was found, or the margin of the claim.
    """

    claim: Claim
    number: str
    contrasts: tuple[Contrast, ...]
    failed: dict[str, tuple[int, int]]
    p: float | None
    level: float
    adjusted: float | None = None
    outcome: Outcome = "no verdict"
    why_not: str = ""
    could_show: float | None = None
    needed: int | None = None

    @property
    def limiting(self) -> Contrast:
        """The contrast that is hardest to show, on which the verdict hangs."""
        return max(self.contrasts, key=lambda contrast: _hardness(self.claim, contrast))


def decide_claims(claims: Sequence[Claim], table: RunTable, look: Look) -> tuple[ClaimTest, ...]:
    """Each number of each claim, with p-values adjusted over all of them.

    Raises:
        InputError: for a claim on a number of which no direction is better.
    """
    tests = [_test(claim, complete(number), table, look) for claim in claims for number in claim.on]
    adjusted = holm([test.p for test in tests])
    return tuple(_decide(test, p, look) for test, p in zip(tests, adjusted, strict=True))


def contrast(arm: str, other: str, number: str, greater: bool, table: RunTable, seeds: Sequence[int]) -> Contrast:
    """One arm against another over the seeds that both have the number in."""
    sides = [table.side(text) for text in (arm, other)]
    first, second = (table.values(*side, number) for side in sides)
    both = tuple(seed for seed in seeds if seed in first and seed in second)
    if not both:
        return Contrast(arm, other)
    difference = paired_difference([first[seed] for seed in both], [second[seed] for seed in both], greater)
    errors = [error for side in sides if (error := table.item_error(*side, number)) is not None]
    flips = sign_flip_p(difference.by_seed) if len(both) >= _FEWEST_FLIPS else None
    return Contrast(arm, other, both, difference, wins(difference.by_seed), flips, max(errors, default=None))


def _test(claim: Claim, number: str, table: RunTable, look: Look) -> ClaimTest:
    greater = claimed_direction(number) == "greater"
    contrasts = tuple(contrast(claim.arm, other, number, greater, table, look.seeds) for other in claim.others)
    lost = {arm: sum(s in look.seeds for s in table.failed(*table.side(arm))) for arm in (claim.arm, *claim.others)}
    failed = {arm: (count, len(look.seeds)) for arm, count in lost.items() if count}
    p = _p(claim, contrasts) if look.decides else None
    return ClaimTest(claim, number, contrasts, failed, p, look.level)


def _p(claim: Claim, contrasts: Sequence[Contrast]) -> float | None:
    differences = [contrast.difference for contrast in contrasts]
    found = [difference for difference in differences if difference is not None and difference.decidable]
    if len(found) < len(differences):
        return None
    if claim.within is None:
        return found[0].p if len(found) == 1 else better_than_all(*found)
    one = equivalence_p if claim.kind == "equal" else noninferiority_p
    return max(p for difference in found if (p := one(difference, claim.within)) is not None)


def _decide(test: ClaimTest, adjusted: float | None, look: Look) -> ClaimTest:
    """The test with its outcome, and what its seeds can show."""
    test = replace(test, adjusted=adjusted)
    difference = test.limiting.difference
    if difference is not None and difference.sd is not None and difference.decidable:
        within, level = test.claim.within, test.level
        goal = within if within is not None else max(difference.mean, 0.0)
        test = replace(
            test,
            could_show=smallest_detectable(difference.n, alpha=level) * difference.sd,
            needed=seeds_to_show(goal, difference.sd, alpha=level) if goal else None,
        )
    if adjusted is None:
        return replace(test, why_not=_why_not(test, look))
    shown = adjusted < test.level
    single = len(test.contrasts) == 1 and test.claim.kind == "better"
    opposite = shown and single and difference is not None and difference.mean < 0
    if not shown:
        return replace(test, outcome="not shown")
    flattered = [*test.claim.others] if opposite else [test.claim.arm]
    flattered += test.claim.others if test.claim.kind == "equal" else []
    for arm in flattered:
        if arm in test.failed:
            word = {"better": "better", "equal": "equal", "not_worse": "not worse"}[test.claim.kind]
            return replace(test, why_not=f"an arm with failed runs is not called {word}")
    return replace(test, outcome="opposite" if opposite else "shown")


def _why_not(test: ClaimTest, look: Look) -> str:
    """Why there is no p-value."""
    if not look.decides:
        return look.progress
    missing = next((contrast for contrast in test.contrasts if contrast.difference is None), None)
    if missing is not None:
        return f"{missing.arm} and {missing.other} have no seed with this number in common"
    least = min(len(contrast.seeds) for contrast in test.contrasts)
    return f"{count(least, 'seed')} decide{'s' * (least == 1)} nothing, {LEAST_SEEDS} can"


def _hardness(claim: Claim, contrast: Contrast) -> float:
    """Grows with the p-value of the contrast, or where there is none with how little it is for the claim."""
    difference = contrast.difference
    if difference is None:
        return float("inf")
    if not difference.decidable:
        return -difference.mean
    if claim.within is None:
        return difference.p_better or 0.0
    one = equivalence_p if claim.kind == "equal" else noninferiority_p
    return one(difference, claim.within) or 0.0
