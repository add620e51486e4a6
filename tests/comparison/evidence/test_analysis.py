"""Summaries and verdicts of studies, against the golden table of scipy's tests and by their properties."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats
from utils.study_cases import ACCURACY, GOLDEN, NATS, failing, make_plan, make_run, make_runs, make_study

from lm_objectives.comparison.evidence.analysis import Analysis, analyse
from lm_objectives.comparison.evidence.claims import ClaimTest
from lm_objectives.comparison.report.verdicts import is_sum_of_parts, sentence, short
from lm_objectives.errors import InputError

ON = "held_out/causal"
BOTH = {"better": "mixed", "than": ["causal", "masked"], "on": ON}
CAUSAL = {"better": "mixed", "than": "causal", "on": ON}
MASKED = {"better": "masked", "than": "causal", "on": ON}
NOT_WORSE = {"not_worse": "mixed", "than": "causal", "on": ON, "within": 0.02}
EQUAL = {"equal": "mixed", "to": "causal", "on": ON, "within": 0.005}


def _analyse(*claims: dict[str, Any], runs: list[Any] | None = None, **changes: Any) -> Analysis:
    study = make_study(claims=claims, **changes)
    return analyse(study, make_plan(study), make_runs() if runs is None else runs)


def _only(*claims: dict[str, Any], **changes: Any) -> ClaimTest:
    [test] = _analyse(*claims, **changes).claims
    return test


def test_better_than_one() -> None:
    """Oracle: the golden table, scipy 1.17.1's `ttest_rel` on five seeds."""
    test = _only(CAUSAL)
    difference = test.contrasts[0].difference
    assert difference is not None and difference.interval is not None and difference.sd is not None
    assert difference.mean == pytest.approx(0.0154)
    assert difference.sd == pytest.approx(0.008502941, rel=1e-6)
    assert difference.t == pytest.approx(4.049828, rel=1e-6)
    assert difference.correlation == pytest.approx(0.673514, rel=1e-5)
    assert (difference.interval.low, difference.interval.high) == pytest.approx((0.00484220, 0.02595780), rel=1e-6)
    assert test.p == test.adjusted == pytest.approx(0.01547792, rel=1e-6)
    assert test.could_show == pytest.approx(1.68 * difference.sd, rel=3e-3)
    assert test.outcome == "shown"
    said = "mixed better than causal on held_out, read as causal: yes, by 0.015 nats (0.0048 to 0.026), 5 of 5 seeds, "
    assert sentence(test) == f"{said}Holm p .015."
    assert short(test) == "better (Holm p .015; 5 of 5)"


def test_better_than_both() -> None:
    """Oracle: the golden table: the largest of the one-sided p-values, without a correction within the claim."""
    test = _only(BOTH)
    assert test.p == pytest.approx(0.0077389600, rel=1e-6)
    assert test.limiting.other == "causal" and test.outcome == "shown"
    study = make_study(claims=[BOTH, CAUSAL])
    assert [is_sum_of_parts(claim, make_plan(study)) for claim in study.claims] == [True, False]
    alike = make_study(claims=[{**BOTH, "than": ["causal", "other"]}], arms=("causal", "mixed", "other"))
    assert not is_sum_of_parts(alike.claims[0], make_plan(alike))  # other has both objectives too


def test_margins() -> None:
    """Oracle: the golden table: p of not being worse by .02, and the seeds that show .005."""
    not_worse, equal = _analyse(NOT_WORSE, EQUAL).claims
    assert not_worse.p == pytest.approx(3.704706e-4, rel=1e-6) and not_worse.outcome == "shown"
    assert equal.needed == 25 and equal.outcome == "not shown"
    assert "25 would show 0.005 nats" in sentence(equal)
    assert short(equal) == "equal within 0.005 nats: not decided; 25 would show 0.005 nats"
    assert short(not_worse) == "not worse within 0.020 nats (Holm p .00074)"
    assert "yes, +0.015 nats (0.0048 to 0.026; + is better)" in sentence(not_worse)


def test_holm_over_all_claims_and_numbers() -> None:
    """Oracle: Holm by hand over the golden p-values."""
    tests = _analyse(BOTH, CAUSAL, MASKED).claims
    assert [test.adjusted for test in tests] == pytest.approx([2 * 0.00773896, 0.01547792, 3 * 2.361775e-5], rel=1e-5)
    assert [test.outcome for test in tests] == ["shown", "shown", "opposite"]
    assert "no, worse by 0.048 nats (0.042 to 0.054), 5 of 5 seeds, Holm p" in sentence(tests[2])
    assert short(tests[2]).startswith("worse (Holm p ") and short(tests[2]).endswith("; 5 of 5)")


def test_greater_is_better_of_an_accuracy() -> None:
    """Oracle: the same numbers with the opposite verdict."""
    runs = make_runs({arm: [value / 10 for value in values] for arm, values in GOLDEN.items()}, ACCURACY)
    test = _only({"better": "masked", "than": "causal", "on": "blimp/causal"}, runs=runs)
    assert test.outcome == "shown" and test.contrasts[0].wins is not None and test.contrasts[0].wins.won == 5
    assert "yes, by 0.5 points (0.4 to 0.5), 5 of 5 seeds" in sentence(test)


def test_summaries() -> None:
    """Oracle: scipy's interval of a mean; the difference from the first arm is the arm's value minus that arm's."""
    analysis = _analyse()
    [summary] = analysis.numbers
    for row in summary.arms:
        values = GOLDEN[row.arm]
        low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
        assert row.summary is not None and row.summary.interval is not None
        assert (row.summary.interval.low, row.summary.interval.high) == pytest.approx((low, high))
        if row.arm != "causal":
            assert row.minus_first is not None
            assert row.minus_first.mean == pytest.approx(sum(values) / 5 - sum(GOLDEN["causal"]) / 5)
    assert summary.at(0)[0].minus_first is None
    assert summary.chance == pytest.approx(6.2)


def test_order_of_runs_and_seeds_changes_nothing() -> None:
    """Property: equality of all numbers, to the last bit for runs, and but for the order of seeds for those."""
    runs = make_runs()
    shuffled = random.Random(0).sample(runs, len(runs))
    assert _analyse(BOTH, EQUAL, runs=shuffled) == _analyse(BOTH, EQUAL, runs=runs)
    turned = [replace(run, seed=4 - run.seed) for run in runs]
    for one, other in zip(_analyse(BOTH, EQUAL, runs=turned).claims, _analyse(BOTH, EQUAL).claims, strict=True):
        assert one.p == pytest.approx(other.p, rel=1e-9) and one.outcome == other.outcome


def test_what_a_seed_shifts_in_all_arms_changes_no_verdict() -> None:
    """Property: pairs are within seeds."""
    shifted = make_runs({arm: [v + s / 7 for s, v in enumerate(values)] for arm, values in GOLDEN.items()})
    for one, other in zip(_analyse(BOTH, CAUSAL, runs=shifted).claims, _analyse(BOTH, CAUSAL).claims, strict=True):
        assert one.adjusted == pytest.approx(other.adjusted, rel=1e-6) and one.outcome == other.outcome


def test_a_failed_run_leaves_all_contrasts_of_its_arm() -> None:
    """Oracle: scipy's test on the other four seeds; contrasts of other arms keep all five."""
    runs = failing(make_runs(), "mixed", 2)
    mixed, masked = _analyse(CAUSAL, MASKED, runs=runs).claims
    pairs = [[values[s] for s in (0, 1, 3, 4)] for values in (GOLDEN["mixed"], GOLDEN["causal"])]
    assert mixed.p == pytest.approx(stats.ttest_rel(*pairs).pvalue)
    kept = [replace(run, failed="out of memory") if (run.arm, run.seed) == ("mixed", 2) else run for run in make_runs()]
    assert _analyse(CAUSAL, runs=kept).claims[0].p == mixed.p  # whatever was measured before
    assert mixed.contrasts[0].seeds == (0, 1, 3, 4) and masked.contrasts[0].seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("claim", [CAUSAL, BOTH, NOT_WORSE, {**EQUAL, "within": 0.1}])
def test_an_arm_with_failures_is_never_called_better(claim: dict[str, Any]) -> None:
    """Property: what would be shown without the failure has no verdict with it, and the failure is told."""
    assert _only(claim).outcome == "shown"
    test = _only(claim, runs=failing(make_runs(), "mixed", 2))
    assert test.adjusted is not None and test.adjusted < 0.05
    assert test.outcome == "no verdict" and sentence(test).endswith("1 of 5 runs of mixed failed.")


def test_the_other_arm_is_not_called_better_where_it_failed() -> None:
    """Property: the opposite of a claim is a claim that the other arm is better."""
    assert _only(MASKED).outcome == "opposite"
    assert _only(MASKED, runs=failing(make_runs(), "causal", 0)).outcome == "no verdict"
    assert _only(MASKED, runs=failing(make_runs(), "masked", 0)).outcome == "opposite"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_no_verdict(seeds: int) -> None:
    """Oracle: one seed has no interval, two have one; neither has a p-value in its verdict."""
    runs = [run for run in make_runs() if run.seed < seeds]
    analysis = _analyse(CAUSAL, BOTH, EQUAL, runs=runs, seeds=seeds)
    for test in analysis.claims:
        difference = test.contrasts[0].difference
        assert difference is not None and (difference.interval is None) == (seeds == 1)
        assert test.outcome == "no verdict" and test.p is None and test.adjusted is None and test.could_show is None
        assert f"no verdict: {seeds} seed" in sentence(test) and "decide" in sentence(test)
    row = analysis.numbers[0].at(0)[0]
    assert row.summary is not None and (row.summary.interval is None) == (seeds == 1)


def test_equal_arms_are_not_decided() -> None:
    """Property: arms whose differences have a mean near 0 are neither better nor equal without a margin."""
    causal = GOLDEN["causal"]
    mixed = [value + by for value, by in zip(causal, (0.01, -0.01, 0.02, -0.03, 0.0), strict=True)]
    runs = make_runs({"causal": causal, "mixed": mixed})
    test = _only(CAUSAL, runs=runs, arms=("causal", "mixed"))
    assert test.outcome == "not shown" and short(test).startswith("not decided; ")
    assert "not shown (Holm p .83). The evidence ends here: 5 seeds could have shown 0.0" in sentence(test)
    same = make_runs({"causal": causal, "mixed": causal})
    assert _only(CAUSAL, runs=same, arms=("causal", "mixed")).outcome == "not shown"
    assert _only(EQUAL, runs=same, arms=("causal", "mixed")).outcome == "shown"


def test_null_arms_are_called_different_in_a_twentieth_of_studies() -> None:
    """Statistic: 400 seeded studies of arms that are equal reject in .05, within three standard errors."""
    draw, rejected = random.Random(0), 0
    for _ in range(400):
        values = {arm: [draw.gauss(4, 0.02) for _ in range(5)] for arm in ("causal", "mixed")}
        rejected += _only(CAUSAL, runs=make_runs(values), arms=("causal", "mixed")).outcome in ("shown", "opposite")
    assert abs(rejected / 400 - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 400)


def test_seeds_that_are_not_all_there_have_numbers_without_a_verdict() -> None:
    """Oracle: what is said."""
    runs = [run for run in make_runs() if run.seed < 3]
    test = _only(CAUSAL, runs=runs)
    assert test.p is None and "no verdict: 3 of 5 seeds are done. Found: better by" in sentence(test)
    assert len(test.contrasts[0].seeds) == 3


def test_seeds_beyond_the_plan_decide_nothing() -> None:
    """Property: the verdict stays what it was; the numbers have the added seed."""
    more = [*make_runs(), *(make_run(arm, 5, {NATS: 9.0}) for arm in GOLDEN)]
    assert _only(CAUSAL, runs=more).p == _only(CAUSAL).p
    assert 5 in _analyse(CAUSAL, runs=more).numbers[0].at(0)[0].values


def test_looks_share_the_level() -> None:
    """Oracle: .05 over two looks; between them the first look's verdict stays."""
    runs = make_runs({arm: [*values, 5.0, 5.0] for arm, values in GOLDEN.items()})
    analysis = _analyse(CAUSAL, EQUAL, runs=runs, seeds=10, looks=[5, 10])
    assert analysis.look.level == 0.025 and analysis.look.seeds == (0, 1, 2, 3, 4)
    assert analysis.claims[0].p == pytest.approx(0.01547792, rel=1e-6) and analysis.claims[0].level == 0.025
    assert analysis.claims[0].outcome == "not shown"  # 2 x .0155 is above .025
    assert analysis.look.progress == "7 of 10 seeds are done; the verdicts are those of the look at 5"


def test_a_number_that_an_arm_cannot_have() -> None:
    """Oracle: no summary, and a claim on it without a verdict and without a place in Holm's family."""
    runs = [replace(run, numbers={}) if run.arm == "masked" else run for run in make_runs()]
    analysis = _analyse(BOTH, CAUSAL, runs=runs)
    assert analysis.numbers[0].at(0)[2].summary is None
    assert analysis.claims[0].outcome == "no verdict" and "no seed with this number" in sentence(analysis.claims[0])
    assert analysis.claims[1].adjusted == analysis.claims[1].p


def test_a_claim_on_what_has_no_direction() -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match="found held_out/causal/entropy: more of it is neither better nor worse"):
        _analyse({**CAUSAL, "on": "held_out/causal/entropy"})


def test_a_run_has_one_record() -> None:
    """Oracle: the message."""
    with pytest.raises(InputError, match=r"expected one record of each run, found two of \('causal', 0, 0\)"):
        _analyse(runs=[*make_runs(), make_runs()[0]])


def _ladder() -> list[Any]:
    """Nats that fall by the logarithm of compute; mixed has at each budget what causal has at twice of it."""
    return [
        make_run(arm, seed, {NATS: 5 - math.log2(amount * (2 if arm == "mixed" else 1)) + seed / 50}, rung)
        for arm in ("causal", "mixed")
        for seed in range(3)
        for rung, amount in enumerate((1, 2, 4))
    ]


def test_a_ladder_gives_what_budgets_are_worth() -> None:
    """Oracle: by construction, twice; beyond the ladder nothing."""
    changes: dict[str, Any] = {"arms": ("causal", "mixed"), "seeds": 3, "budget": {"flops": [1e13, 2e13, 4e13]}}
    analysis = _analyse(CAUSAL, runs=_ladder(), **changes)
    [gain] = analysis.gains
    assert [gain.mean and pytest.approx(gain.mean) for gain in gain.rungs] == [2.0, 2.0, None]
    assert analysis.claims[0].contrasts[0].difference is not None
    assert analysis.claims[0].contrasts[0].difference.mean == pytest.approx(1.0)  # of the largest budget


def test_a_part_of_the_budget_is_a_rung() -> None:
    """Oracle: by construction, mixed with half the budget is as good as causal with all of it."""
    changes: dict[str, Any] = {"arms": ("causal", "mixed"), "seeds": 3, "budget": {"flops": [1e13, 2e13, 4e13]}}
    test = _only({"better": "causal", "than": "mixed@0.5", "on": ON}, runs=_ladder(), **changes)
    assert test.contrasts[0].difference is not None
    assert test.contrasts[0].difference.mean == pytest.approx(0.0, abs=1e-12)
    assert "causal better than mixed@0.5" in sentence(test)


def test_steps_are_rungs_too() -> None:
    """Oracle: the same gains as of FLOPs, since steps of one arm are in proportion to them."""
    changes: dict[str, Any] = {"arms": ("causal", "mixed"), "seeds": 3}
    flops, steps = (
        _analyse(CAUSAL, runs=_ladder(), budget=budget, **changes).gains[0].rungs
        for budget in ({"flops": [1e13, 2e13, 4e13]}, {"steps_of": "causal", "steps": [300, 600, 1200]})
    )
    assert [gain.mean and pytest.approx(gain.mean) for gain in flops] == [gain.mean for gain in steps]
