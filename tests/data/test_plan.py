"""Who reads how many rows in which step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from utils.row_cases import NAMES, SOURCES

from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.data.plan import ActivityLog, ObjectiveRows, RowPlan, check_row_sharing
from lm_objectives.schedules import value_at

Log = Sequence[tuple[int, Sequence[str]]]


def plan_of(shares: Mapping[str, Any], rows: int, unit: int, entries: Log | None = None, steps: int = -1) -> RowPlan:
    decisions = None if entries is None else ActivityLog(entries)
    return RowPlan(
        {name: ObjectiveRows(TokenMasking(), share) for name, share in shares.items()}, rows, unit, decisions, steps
    )


def test_half_three_tenths_and_a_fifth_of_four_units_over_ten_steps() -> None:
    """Oracle: the shares of 320 rows."""
    plan = plan_of({"a": 0.5, "b": 0.3, "c": 0.2}, 32, 8)
    assert plan.before(10) == {"a": 160, "b": 96, "c": 64}
    assert plan.before(10**9) == {"a": 16 * 10**9, "b": 96 * 10**8, "c": 64 * 10**8}


def test_what_is_left_goes_to_those_furthest_behind_and_by_name_where_they_are_alike() -> None:
    """Oracle: by hand. Four units for three are one each, and one for each in turn."""
    plan = plan_of({"c": 1.0, "a": 1.0, "b": 1.0}, 32, 8)
    turns = [{"a": 16, "b": 8, "c": 8}, {"a": 8, "b": 16, "c": 8}, {"a": 8, "b": 8, "c": 16}]
    assert [plan.rows(step) for step in range(6)] == 2 * turns
    assert [list(plan.rows(step)) for step in range(3)] == 3 * [["a", "b", "c"]]


def test_an_objective_of_less_than_a_unit_is_absent_from_some_steps() -> None:
    plan = plan_of({"a": 3.0, "b": 1.0}, 16, 8)
    assert [plan.rows(step) for step in range(4)] == 2 * [{"a": 16}, {"a": 8, "b": 8}]
    assert plan_of({"a": 1.0, "b": 1.0, "c": 1.0}, 8, 8).before(300) == {"a": 800, "b": 800, "c": 800}


def some_shares(generator: np.random.Generator, moving: bool, steps: int) -> dict[str, Any]:
    """Two to eight shares of very unequal size, whole or broken numbers, or points."""
    sizes = [0.03, 1.0, 2.0, 3.0, 50.0, 100.0, *generator.uniform(0.01, 3, 3)]

    def draw() -> Any:
        if not moving or generator.random() < 0.3:
            return float(generator.choice(sizes))
        when = np.sort(generator.choice(steps, size=3, replace=False))
        return [[int(at), float(generator.choice(sizes))] for at in when]

    return {name: draw() for name in "hgfedcba"[: generator.integers(2, 9)]}


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_nobody_is_ever_a_whole_unit_off(seed: int, moving: bool) -> None:
    """Oracle: targets added up in double precision, step by step."""
    generator, steps = np.random.default_rng(seed), 200
    shares, units = some_shares(generator, moving, steps), int(generator.integers(1, 12))
    plan = plan_of(shares, 4 * units, 4, steps=steps)
    target, given = np.zeros(len(shares)), np.zeros(len(shares))
    for step in range(steps):
        rows = plan.rows(step)
        assert sum(rows.values()) == 4 * units and not any(count % 4 for count in rows.values())
        now = np.array([value_at(share, step, steps, "") for share in shares.values()])
        target += units * now / now.sum()
        given += [rows.get(name, 0) / 4 for name in shares]
        assert abs(given - target).max() < 1 + 1e-9, step


def test_going_by_who_is_furthest_behind_alone_would_not_do() -> None:
    """Oracle: that rule, of which one lets `f` fall 1.1667 units behind; the plan lets nobody."""
    shares = dict(zip("abcdef", [50.0, 1.0, 3.0, 50.0, 3.0, 1.0], strict=True))
    part = np.array(list(shares.values())) / 108
    plan, given, worst = plan_of(shares, 1, 1), np.zeros(6), []
    for step in range(108):
        given[np.argmax(np.round(part * (step + 1) - given, 9))] += 1
        own = np.array(list(plan.before(step + 1).values()))
        worst.append([(part * (step + 1) - count).max() for count in (given, own)])
    assert np.max(worst, axis=0)[0] == pytest.approx(7 / 6)
    assert np.max(worst, axis=0)[1] < 1


def test_a_step_has_the_whole_units_of_each_share_and_one_more_at_most_of_three() -> None:
    for seed in range(20):
        first, second, third = np.random.default_rng(seed).uniform(0.1, 1, 3)
        shares = {"a": first, "b": second, "c": third}
        plan = plan_of(shares, 40, 2)
        for step in range(30):
            for name, share in shares.items():
                more = plan.rows(step).get(name, 0) / 2 - int(20 * share / sum(shares.values()))
                assert more in (0, 1)


LOGS = [None, [(0, "abc"), (7, "bc"), (31, "abc"), (32, "ad"), (60, "abcd")]]
SHARES: list[dict[str, Any]] = [
    {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.1},
    {"a": 0.123456789, "b": 0.987654321, "c": 0.5432154321, "d": 1 / 3},
    {"a": [[0, 1.0], [50, 3.0]], "b": 1.0, "c": [[0, 1.0], [40, 0.0], [80, 2.0]], "d": 1.0},
    {"a": 1.0, "b": 1.0, "c": [[0, 0.0], [5, 1.0]], "d": 1.0},  # equal ones behind a short ramp, whose ties are many
]


@pytest.mark.parametrize("entries", LOGS)
@pytest.mark.parametrize("shares", SHARES)
def test_rows_are_a_pure_function_of_the_step(shares: dict[str, Any], entries: Log | None) -> None:
    """Oracle: one plan that is asked in order; others begin anywhere, and are asked in any order."""
    names = list(shares)[::-1]
    plan = plan_of(shares, 20, 4, entries, 100)
    rows, before = [plan.rows(step) for step in range(100)], [plan.before(step) for step in range(100)]
    for start in range(1, 100, 7):
        other = plan_of({name: shares[name] for name in names}, 20, 4, entries, 100)
        assert (other.before(start), other.rows(start)) == (before[start], rows[start])
        assert other.rows(3) == rows[3]
    shuffled = plan_of(shares, 20, 4, entries, 100)
    for step in np.random.default_rng(0).permutation(100):
        assert shuffled.rows(int(step)) == rows[step]


def test_after_others_join_nobody_is_a_whole_unit_off() -> None:
    """Oracle: targets added up by hand over who reads."""
    entries = [(0, ("a",)), (11, ("a", "b")), (24, ("a", "b", "c")), (40, ("a", "b", "c", "d", "e", "f"))]
    shares = dict(zip("abcdef", [1.0, 0.7, 2.0, 0.1, 3.0, 0.1], strict=True))
    plan, target = plan_of(shares, 5, 1, entries), dict.fromkeys(shares, 0.0)
    for step in range(120):
        reading = [names for start, names in entries if start <= step][-1]
        for name in reading:
            target[name] += 5 * shares[name] / sum(shares[other] for other in reading)
        for name, count in plan.before(step + 1).items():
            assert abs(count - target[name]) < 1, step


def test_the_start_of_a_long_training_is_soon_found() -> None:
    """Periods are left out: a step this far away would take days one by one."""
    plan = plan_of({"a": 2.0, "b": 0.7, "c": 1 / 3}, 32, 8, [(0, ("a", "b")), (1001, ("a", "b", "c"))])
    before = plan.before(10**12)
    assert sum(before.values()) == 32 * 10**12
    assert before["a"] / before["b"] == pytest.approx(2 / 0.7) and before["a"] / before["c"] == pytest.approx(6)


def test_a_step_that_the_unit_does_not_divide() -> None:
    with pytest.raises(
        ValueError, match=r"^expected a data.global_batch_size that data.batch_multiple \(8\) divides, found 20: 24 w"
    ):
        plan_of({"a": 1.0}, 20, 8)


def test_rows_of_who_does_not_read_go_to_the_others() -> None:
    """Oracle: 4/7 and 3/7 of 70 units."""
    plan = RowPlan(SOURCES, 80, 8, ActivityLog([(0, ("causal", "masked")), (7, NAMES)]))
    assert plan.before(7) == {"causal": 320, "masked": 240, "order": 0, "replaced": 0}
    assert set(plan.rows(7)) == {"causal", "masked", "order", "replaced"}


def test_a_guest_keeps_its_hosts_rows() -> None:
    plan = RowPlan(SOURCES, 80, 8, ActivityLog([(0, ("causal", "hidden"))]))
    assert set(plan.rows(0)) == {"causal", "order"}


@pytest.mark.parametrize(
    "entries",
    [
        [(0, NAMES)],
        [(0, ("causal",)), (3, ("causal", "masked")), (4, ("masked", "order")), (11, NAMES)],
        [(0, NAMES), (30, ("causal",))],
    ],
)
def test_rows_before_a_step(entries: list[tuple[int, tuple[str, ...]]]) -> None:
    """Oracle: counting step by step."""
    plan = RowPlan(SOURCES, 80, 8, ActivityLog(entries))
    counted: Counter[str] = Counter()
    for step in range(20):
        assert plan.before(step) == {name: counted[name] for name in plan.shares}
        counted += Counter(plan.rows(step))


def test_decisions() -> None:
    decisions = ActivityLog([(0, ["a"])])
    decisions.append(5, ["a"])
    decisions.append(7, ["a", "b"])
    decisions.append(9, ["b"])
    assert decisions.entries == [(0, ("a",)), (7, ("a", "b")), (9, ("b",))]
    assert [decisions.at(step) for step in (0, 6, 7, 8, 9, 100)] == [
        ("a",),
        ("a",),
        ("a", "b"),
        ("a", "b"),
        ("b",),
        ("b",),
    ]
    decisions.append(9, ["a"])
    assert decisions.at(9) == ("a",)


# Shares that move over the training.

MOVING = {
    "causal": ObjectiveRows(SOURCES["causal"].corruption, [[0.0, 1.0], [1.0, 0.0]]),
    "masked": ObjectiveRows(SOURCES["masked"].corruption, [[0, 0.0], [50, 0.0], [51, 1.0], [250, 3.0]]),
    "order": ObjectiveRows(SOURCES["order"].corruption, 0.5),
}


def test_who_has_no_share_reads_nothing() -> None:
    plan = RowPlan(MOVING, 240, 8, steps=300)
    assert set(plan.rows(0)) == set(plan.rows(50)) == {"causal", "order"}
    assert set().union(*(plan.rows(step) for step in range(280, 300))) == {"causal", "masked", "order"}
    assert set(plan.rows(400)) == {"masked", "order"}


@pytest.mark.parametrize(
    "entries", [[(0, tuple(MOVING))], [(0, ("causal",)), (7, ("masked", "order")), (60, NAMES[:3])]]
)
def test_rows_before_a_step_under_moving_shares(entries: list[tuple[int, tuple[str, ...]]]) -> None:
    """Oracle: counting step by step."""
    sources = {**MOVING, "causal": ObjectiveRows(SOURCES["causal"].corruption, [[0.0, 1.0], [0.9, 0.1]])}
    sources["masked"] = ObjectiveRows(SOURCES["masked"].corruption, [[0, 0.1], [20, 3.0]])
    plan = RowPlan(sources, 240, 8, ActivityLog(entries), steps=90)
    counted: Counter[str] = Counter()
    for step in range(120):
        assert plan.before(step) == {name: counted[name] for name in plan.shares}
        counted += Counter(plan.rows(step))


def test_a_step_that_nobody_has_a_share_of_is_one_clear_line() -> None:
    source = ObjectiveRows(SOURCES["causal"].corruption, [[0, 1.0], [10, 0.0]])
    with pytest.raises(
        ValueError, match="a share above 0 in every step, found none from step 10 on: leave one a share"
    ):
        RowPlan({"causal": source}, 8, 8)


def test_a_fraction_of_a_training_without_end_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError, match=r"share of causal expects .*the fraction 1.0 of, found one without: set max_st"
    ):
        RowPlan(MOVING, 240, 8)


# Sources.


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"causal": SOURCES["causal"], "masked": ObjectiveRows(TokenMasking(), shares_rows_with="orders")},
            "shares_rows_with of objective masked to name another objective, found 'orders': there are causal",
        ),
        (
            {"masked": ObjectiveRows(TokenMasking(), shares_rows_with="masked")},
            "shares_rows_with of objective masked to name an objective with rows of its own, found 'masked'",
        ),
        (
            SOURCES | {"more": ObjectiveRows(TokenMasking(), shares_rows_with="hidden")},
            "shares_rows_with of objective more to name an objective with rows of its own, found 'hidden'",
        ),
        (
            SOURCES | {"more": ObjectiveRows(TokenMasking(), shares_rows_with="order")},
            "one objective to read the view of order, found hidden and more: give one of them rows of its own",
        ),
        (
            SOURCES | {"more": ObjectiveRows(TokenMasking(), shares_rows_with="causal")},
            r"of its own attention pattern \(bidirectional\), found causal with causal: give it rows of its own",
        ),
        (
            {"masked": SOURCES["masked"], "order": ObjectiveRows(SentenceOrderPairs(), shares_rows_with="masked")},
            "to read the view of masked, found order, which arranges rows itself: give it rows of its own",
        ),
    ],
)
def test_sources_that_cannot_share_are_one_clear_line(sources: dict[str, ObjectiveRows], message: str) -> None:
    with pytest.raises(ValueError, match=f"^expected .*{message}$") as caught:
        check_row_sharing(sources)
    assert "\n" not in str(caught.value)
