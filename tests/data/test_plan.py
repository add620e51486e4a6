"""Who reads how many rows in which step."""

from collections import Counter

import numpy as np
import pytest
from row_cases import NAMES, SOURCES

from lm_objectives.corruption.masking import TokenMasking
from lm_objectives.corruption.pairs import SegmentPairs
from lm_objectives.data.plan import Decisions, Plan, RowSource, allot, check_sources


def test_shares_of_eight_and_sixteen_rows() -> None:
    """Oracle: largest remainder by hand: 3.2, 2.4, 1.6, .8 of 8 and 6.4, 4.8, 3.2, 1.6 of 16."""
    shares = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
    assert allot(shares, 8, 1) == {"a": 3, "b": 2, "c": 2, "d": 1}
    assert allot(shares, 16, 1) == {"a": 6, "b": 5, "c": 3, "d": 2}
    assert allot(shares, 64, 8) == {"a": 24, "b": 16, "c": 16, "d": 8}


def test_equal_remainders_go_to_the_first() -> None:
    assert allot({"a": 1.0, "b": 1.0, "c": 1.0}, 32, 8) == {"a": 16, "b": 8, "c": 8}


@pytest.mark.parametrize("seed", range(20))
def test_whole_units_that_sum_to_the_step_and_stay_within_one_of_the_share(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shares = {str(number): float(share) for number, share in enumerate(generator.uniform(0.5, 1, 5))}
    rows = allot(shares, 160, 4)
    assert sum(rows.values()) == 160
    for name, count in rows.items():
        assert count % 4 == 0
        assert abs(count / 4 - 40 * shares[name] / sum(shares.values())) < 1
    assert allot({name: 7 * share for name, share in shares.items()}, 160, 4) == rows


def test_a_step_that_the_unit_does_not_divide() -> None:
    with pytest.raises(
        ValueError, match=r"^expected a data.rows_per_step that data.unit \(8\) divides, found 20: 24 w"
    ):
        allot({"a": 1.0}, 20, 8)


def test_a_step_too_small_for_all_objectives() -> None:
    message = r"^expected .* at least 8 rows \(data.unit\), found 16 for a, b, c: raise it to 24, or lower data.unit"
    with pytest.raises(ValueError, match=message):
        allot({"a": 1.0, "b": 1.0, "c": 0.1}, 16, 8)


def test_nobody_is_left_without_rows_when_another_leaves() -> None:
    """Largest remainder alone would leave `a` none once `d` is out."""
    shares = {"a": 0.5, "b": 1.45, "c": 1.45, "d": 0.6}
    assert allot(shares, 32, 8) == {"a": 8, "b": 8, "c": 8, "d": 8}
    del shares["d"]
    rows = allot(shares, 32, 8)
    assert rows["a"] == 8 and sorted(rows.values()) == [8, 8, 16]


def test_rows_of_who_does_not_read_go_to_the_others() -> None:
    plan = Plan(SOURCES, 80, 8, Decisions([(0, ("causal", "masked")), (2, NAMES)]))
    assert plan.rows(1) == {"causal": 48, "masked": 32}
    assert sum(plan.rows(2).values()) == 80


def test_a_guest_keeps_its_hosts_rows() -> None:
    plan = Plan(SOURCES, 80, 8, Decisions([(0, ("causal", "hidden"))]))
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
    plan = Plan(SOURCES, 80, 8, Decisions(entries))
    counted: Counter[str] = Counter()
    for step in range(20):
        assert plan.before(step) == {name: counted[name] for name in plan.shares}
        counted += Counter(plan.rows(step))


def test_decisions() -> None:
    decisions = Decisions([(0, ["a"])])
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
    "causal": RowSource(SOURCES["causal"].corruption, [[0.0, 1.0], [1.0, 0.0]]),
    "masked": RowSource(SOURCES["masked"].corruption, [[0, 0.0], [50, 0.0], [51, 1.0], [250, 3.0]]),
    "order": RowSource(SOURCES["order"].corruption, 0.5),
}


def test_moving_shares_follow_their_points() -> None:
    """Oracle: the shares by hand at the start, in the middle and at the end."""
    plan = Plan(MOVING, 240, 8, steps=300)
    assert plan.rows(0) == {"causal": 160, "order": 80}
    middle = {"causal": 1 - 150 / 300, "masked": 1 + 2 * 99 / 199, "order": 0.5}
    assert plan.rows(150) == allot(middle, 240, 8)
    assert plan.rows(299) == allot({"causal": 1 - 297 / 300, "masked": 3.0, "order": 0.5}, 240, 8)
    assert plan.rows(400) == {"masked": 208, "order": 32}


@pytest.mark.parametrize(
    "entries", [[(0, tuple(MOVING))], [(0, ("causal",)), (7, ("masked", "order")), (60, NAMES[:3])]]
)
def test_rows_before_a_step_under_moving_shares(entries: list[tuple[int, tuple[str, ...]]]) -> None:
    """Oracle: counting step by step."""
    sources = {**MOVING, "causal": RowSource(SOURCES["causal"].corruption, [[0.0, 1.0], [0.9, 0.1]])}
    sources["masked"] = RowSource(SOURCES["masked"].corruption, [[0, 0.1], [20, 3.0]])
    plan = Plan(sources, 240, 8, Decisions(entries), steps=90)
    counted: Counter[str] = Counter()
    for step in range(120):
        assert plan.before(step) == {name: counted[name] for name in plan.shares}
        counted += Counter(plan.rows(step))


def test_a_step_that_nobody_has_a_share_of_is_one_clear_line() -> None:
    source = RowSource(SOURCES["causal"].corruption, [[0, 1.0], [10, 0.0]])
    with pytest.raises(
        ValueError, match="a share above 0 in every step, found none from step 10 on: leave one a share"
    ):
        Plan({"causal": source}, 8, 8)


def test_a_fraction_of_a_training_without_end_is_one_clear_line() -> None:
    with pytest.raises(
        ValueError, match=r"share of causal expects .*the fraction 1.0 of, found one without: set max_st"
    ):
        Plan(MOVING, 240, 8)


# Sources.


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            {"causal": SOURCES["causal"], "masked": RowSource(TokenMasking(), view_of="orders")},
            "view_of of objective masked to name another objective, found 'orders': there are causal",
        ),
        (
            {"masked": RowSource(TokenMasking(), view_of="masked")},
            "view_of of objective masked to name an objective with rows of its own, found 'masked'",
        ),
        (
            SOURCES | {"more": RowSource(TokenMasking(), view_of="hidden")},
            "view_of of objective more to name an objective with rows of its own, found 'hidden'",
        ),
        (
            SOURCES | {"more": RowSource(TokenMasking(), view_of="order")},
            "one objective to read the view of order, found hidden and more: give one of them rows of its own",
        ),
        (
            SOURCES | {"more": RowSource(TokenMasking(), view_of="causal")},
            r"of its own attention pattern \(bidirectional\), found causal with causal: give it rows of its own",
        ),
        (
            {"masked": SOURCES["masked"], "order": RowSource(SegmentPairs(), view_of="masked")},
            "to read the view of masked, found order, which arranges rows itself: give it rows of its own",
        ),
    ],
)
def test_sources_that_cannot_share_are_one_clear_line(sources: dict[str, RowSource], message: str) -> None:
    with pytest.raises(ValueError, match=f"^expected .*{message}$") as caught:
        check_sources(sources)
    assert "\n" not in str(caught.value)
