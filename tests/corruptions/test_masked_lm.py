"""Masks of both corruptions that mask: exact counts, by key, at published rates."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
import yaml
from utils.corruption_cases import BOS, EOS, MASK, PAD, VOCABULARY, packed_rows, random_rows, rows_of

from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Poisson, Uniform
from lm_objectives.corruptions.word_units import units_of
from lm_objectives.objectives import Objective
from lm_objectives.views import Rows, View

CONFIGS = Path(__file__).parents[2] / "configs"
SINGLY = [TokenMasking(), TokenMasking(0.3, predict_from="previous"), TokenReplacement(), TokenReplacement(0.4)]
TOGETHER = [
    TokenMasking(unit="word"),
    TokenMasking(lengths=NGram()),
    TokenMasking(0.3, predict_from="previous", lengths=Uniform(1, 3)),
    TokenMasking(0.6, unit="word", lengths=Poisson()),
    TokenMasking(unit="word", lengths=Geometric(), predict_from="previous"),
]


def name_of(corruption: Any) -> str:
    kinds = (type(corruption), type(getattr(corruption, "lengths", None)))
    words = (*(kind.__name__ for kind in kinds), corruption.rate, getattr(corruption, "unit", ""), back_of(corruption))
    return "-".join(map(str, words))


def back_of(corruption: Any) -> int:
    return int(getattr(corruption, "predict_from", "same") == "previous")


each = pytest.mark.parametrize("corruption", SINGLY + TOGETHER, ids=name_of)
each_singly = pytest.mark.parametrize("corruption", SINGLY, ids=name_of)


def positions(view: View, back: int = 0) -> np.ndarray:
    """Row and position of each masked token, `(scored, 2)`."""
    return np.stack(np.divmod(view.label_positions.numpy() + back, view.input_ids.shape[1]), axis=1)


def take(rows: Rows, chosen: Any) -> Rows:
    positions = None if rows.position_ids is None else rows.position_ids[chosen]
    return Rows(rows.keys[chosen], rows.input_ids[chosen], rows.lengths[chosen], positions)


def test_literal_example() -> None:
    the, cat, sat, on, mat = range(10, 15)
    rows = rows_of([BOS, the, cat, sat, on, the, mat, EOS])
    same = TokenMasking(0.5).corrupt(rows, VOCABULARY)
    assert same.input_ids.tolist() == [[BOS, 66, cat, MASK, MASK, the, mat, EOS]]
    assert same.label_positions.tolist() == [1, 3, 4]
    assert same.targets.tolist() == [the, sat, on]
    previous = TokenMasking(0.5, predict_from="previous").corrupt(rows, VOCABULARY)
    assert previous.input_ids.tolist() == same.input_ids.tolist()
    assert previous.label_positions.tolist() == [0, 2, 3]
    assert previous.targets.tolist() == same.targets.tolist()


@each_singly
def test_exact_counts(corruption: Any) -> None:
    """Oracle: round(rate × maskable) of each row, special tokens and padding left out of the count."""
    rows = random_rows(200, 64)
    view = corruption.corrupt(rows, VOCABULARY)
    back = back_of(corruption)
    found = np.bincount(positions(view, back)[:, 0], minlength=200)
    for row, length in enumerate(rows.lengths):
        maskable = sum(token not in VOCABULARY.special for token in rows.input_ids[row, back:length])
        assert found[row] == round(corruption.rate * maskable)
    assert next(iter(view.counts.values())) == len(view.label_positions) == found.sum()


@pytest.mark.parametrize("corruption", TOGETHER, ids=name_of)
@pytest.mark.parametrize("rows", [random_rows(200, 64), packed_rows(200, 64)], ids=["padded", "packed"])
def test_exact_counts_of_units(corruption: Any, rows: Rows) -> None:
    """Oracle: round(rate × units) of each row, and of a unit all tokens or none."""
    view = corruption.corrupt(rows, VOCABULARY)
    back = back_of(corruption)
    units = units_of(rows, VOCABULARY, corruption.unit, back)
    masked = np.zeros(rows.input_ids.shape, dtype=bool)
    masked[tuple(positions(view, back).T)] = True
    for row, count in enumerate(units.counts):
        assert masked[row][units.begins[row]].sum() == round(corruption.rate * count)
    number = np.cumsum(units.begins) - 1
    whole = np.bincount(number[units.maskable.ravel()])
    assert np.isin(np.bincount(number[masked.ravel()], minlength=len(whole)), [0, *whole]).all()
    assert (np.bincount(number[masked.ravel()], minlength=len(whole)) % whole == 0).all()


@each
def test_in_packed_rows_no_target_is_predicted_from_another_document(corruption: Any) -> None:
    rows = packed_rows(100, 64)
    view = corruption.corrupt(rows, VOCABULARY)
    row, position = positions(view, back_of(corruption)).T
    assert rows.position_ids is not None and (rows.position_ids[row, position] >= back_of(corruption)).all()
    assert view.position_ids is not None and np.array_equal(view.position_ids, rows.position_ids)
    assert not np.isin(view.targets, VOCABULARY.special).any()


@pytest.mark.parametrize(
    "config", ["recipes/albert.yaml", "recipes/published/albert.yaml", "objectives/sentence_order.yaml"]
)
def test_no_word_that_albert_touches_is_masked_in_part(config: str) -> None:
    """Oracle: a loop over the words of each row; section 4.1 has n-grams of complete words.

    The published size lies over the recipe.
    """
    masked = {}
    for path in ("recipes/albert.yaml", config):
        model = yaml.safe_load((CONFIGS / path).read_text(encoding="utf-8")).get("model", {})
        masked = model.get("objectives", {}).get("masked", masked)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--masked", type=Objective)
    corruption: Any = parser.instantiate(parser.parse_object({"masked": masked})).masked.corruption
    assert corruption.lengths == NGram(3)
    rows = random_rows(500, 128)
    scored = {(row, position) for row, position in positions(corruption.corrupt(rows, VOCABULARY)).tolist()}
    assert VOCABULARY.starts_word is not None
    words: list[list[tuple[int, int]]] = []
    for row, ids in enumerate(rows.input_ids):
        new = True
        for position, token in enumerate(ids[: rows.lengths[row]]):
            if token in VOCABULARY.special:
                new = True
            elif new or VOCABULARY.starts_word[token]:
                words.append([(row, position)])
                new = False
            else:
                words[-1].append((row, position))
    touched = [word for word in words if scored & set(word)]
    assert all(scored.issuperset(word) for word in touched)
    assert len(touched) > 4000 and max(map(len, touched)) > 2


@each
def test_only_ordinary_tokens_are_scored_and_each_once(corruption: Any) -> None:
    rows = random_rows(200, 64)
    view = corruption.corrupt(rows, VOCABULARY)
    row, position = positions(view, back_of(corruption)).T
    assert not np.isin(view.targets, VOCABULARY.special).any()
    assert np.array_equal(view.targets, rows.input_ids[row, position])
    assert (np.diff(view.label_positions) > 0).all()
    assert (position < rows.lengths[row]).all()


@each
def test_padding_is_known_by_length_whatever_it_holds(corruption: Any) -> None:
    rows = random_rows(50, 64)
    ids = rows.input_ids.copy()
    ids[np.arange(64) >= rows.lengths[:, None]] = 9
    scored = [corruption.corrupt(of, VOCABULARY).label_positions for of in (rows, replace(rows, input_ids=ids))]
    assert torch.equal(*scored)


@each
def test_nothing_else_changes(corruption: Any) -> None:
    rows = random_rows(50, 64)
    before = rows.input_ids.copy()
    view = corruption.corrupt(rows, VOCABULARY)
    row, position = positions(view, back_of(corruption)).T
    changed = view.input_ids.numpy().copy()
    changed[row, position] = before[row, position]
    assert np.array_equal(changed, before)
    assert np.array_equal(rows.input_ids, before)
    assert np.array_equal(view.lengths, rows.lengths)


@each
def test_a_row_is_the_same_alone(corruption: Any) -> None:
    rows = random_rows(20, 64)
    whole = corruption.corrupt(rows, VOCABULARY)
    for number in (0, 7, 19):
        alone = corruption.corrupt(take(rows, [number]), VOCABULARY)
        own = whole.label_positions // 64 == number
        assert torch.equal(alone.input_ids[0], whole.input_ids[number])
        assert torch.equal(alone.label_positions, whole.label_positions[own] - 64 * number)
        if whole.sampling_noise is not None:
            assert torch.equal(alone.sampling_noise, whole.sampling_noise[own])


@each
def test_other_keys_mask_otherwise(corruption: Any) -> None:
    rows = random_rows(20, 64)
    assert not torch.equal(
        corruption.corrupt(rows, VOCABULARY).label_positions,
        corruption.corrupt(replace(rows, keys=rows.keys + np.uint64(1)), VOCABULARY).label_positions,
    )


@each_singly
def test_every_position_is_as_likely(corruption: Any) -> None:
    """Oracle: a count of n draws of chance p has a standard deviation of √(np(1-p)); 4.5 of them are allowed."""
    rows = rows_of(*[[*range(4, 44)]] * 4000)
    back = back_of(corruption)
    found = np.bincount(positions(corruption.corrupt(rows, VOCABULARY), back)[:, 1], minlength=40)[back:]
    chance = round(corruption.rate * (40 - back)) / (40 - back)
    assert np.abs(found - 4000 * chance).max() < 4.5 * np.sqrt(4000 * chance * (1 - chance))


@pytest.mark.parametrize(
    ("corruption", "mask_share", "random_share"),
    [(TokenMasking(), 0.8, 0.1), (TokenMasking(0.3, 0.5, 0.5), 0.5, 0.5), (TokenReplacement(), 0.85, 0.0)],
    ids=str,
)
def test_shares_of_mask_random_and_kept(corruption: Any, mask_share: float, random_share: float) -> None:
    """Oracle: BERT's 80/10/10 and ELECTRA's 85/15, to 0.015 over 24,000 draws; of 96 random tokens one is the same."""
    rows = rows_of(*[[*range(4, 44)]] * 4000)
    view = corruption.corrupt(rows, VOCABULARY)
    row, position = positions(view).T
    now = view.input_ids.numpy()[row, position]
    masked, kept = now == MASK, now == view.targets.numpy()
    assert masked.mean() == pytest.approx(mask_share, abs=0.015)
    assert kept.mean() == pytest.approx(1 - mask_share - random_share * 95 / 96, abs=0.015)
    random = now[~masked & ~kept]
    assert not np.isin(random, VOCABULARY.special).any()
    if random_share:
        assert set(random) == set(range(4, VOCABULARY.size))


def test_marginal_rates_of_hugging_faces_collator() -> None:
    """Oracle: DataCollatorForLanguageModeling, whose count is a coin per token; shares agree to 0.01."""
    from transformers import DataCollatorForLanguageModeling

    class Tokenizer:
        mask_token, pad_token, padding_side = "[MASK]", "[PAD]", "right"
        mask_token_id, pad_token_id = MASK, PAD

        def convert_tokens_to_ids(self, token: str) -> int:
            del token
            return MASK

        def get_special_tokens_mask(self, ids: list[int], already_has_special_tokens: bool) -> list[int]:
            assert already_has_special_tokens
            return [int(token in VOCABULARY.special) for token in ids]

        def __len__(self) -> int:
            return VOCABULARY.size

    rows = rows_of(*[[BOS, *range(4, 44), EOS]] * 4000)
    torch.manual_seed(0)
    collator = DataCollatorForLanguageModeling(Tokenizer(), mlm_probability=0.15)  # type: ignore[arg-type]
    theirs_ids, theirs_labels = collator.torch_mask_tokens(
        torch.from_numpy(rows.input_ids.copy()),
        special_tokens_mask=torch.from_numpy(np.isin(rows.input_ids, VOCABULARY.special)),
    )
    ours = TokenMasking().corrupt(rows, VOCABULARY)
    scored = theirs_labels != -100
    assert len(ours.label_positions) / rows.input_ids.size == pytest.approx(scored.float().mean().item(), abs=0.01)
    for kind in (MASK, None):
        share = [
            (ids == (targets if kind is None else kind)).float().mean().item()
            for ids, targets in (
                (ours.input_ids.flatten()[ours.label_positions], ours.targets),
                (theirs_ids[scored], theirs_labels[scored]),
            )
        ]
        assert share[0] == pytest.approx(share[1], abs=0.01)


def test_prediction_from_the_previous_position_never_comes_from_before_the_row() -> None:
    rows = rows_of(*[[5, 6]] * 50)
    view = TokenMasking(0.9, predict_from="previous").corrupt(rows, VOCABULARY)
    assert view.label_positions.tolist() == [*range(0, 100, 2)]
    assert (view.targets == 6).all()


@each
def test_rows_without_anything_to_mask(corruption: Any) -> None:
    view = corruption.corrupt(rows_of([BOS, EOS], [BOS, 7, EOS], window=4), VOCABULARY)
    assert view.targets.tolist() == [7]
    assert corruption.corrupt(rows_of([BOS, EOS]), VOCABULARY).label_positions.tolist() == []


@each
def test_validation_is_at_15_percent_singly(corruption: Any) -> None:
    singly = {"unit": "token", "lengths": None} if isinstance(corruption, TokenMasking) else {}
    assert corruption.for_validation() == replace(corruption, rate=0.15, **singly)


@pytest.mark.parametrize("kind", [TokenMasking, TokenReplacement])
def test_rates_follow_their_points(kind: Any) -> None:
    """Oracle: GPT-BERT's rate, from .30 to .15 in a straight line."""
    moving = kind([[0.0, 0.3], [1.0, 0.15]])
    assert [moving.at_step(step, 1000).rate for step in (0, 500, 1000)] == pytest.approx([0.3, 0.225, 0.15])
    rows = random_rows(20, 64)
    assert torch.equal(
        moving.at_step(0, 9).corrupt(rows, VOCABULARY).label_positions,
        kind(0.3).corrupt(rows, VOCABULARY).label_positions,
    )
    assert kind(0.2).at_step(7, -1) == kind(0.2)
    assert moving.for_validation() == kind(0.15)
    assert pickle.loads(pickle.dumps(moving)) == moving
    with pytest.raises(AssertionError, match="resolved by at_step"):
        moving.corrupt(rows, VOCABULARY)
    with pytest.raises(ValueError, match=r"^expected a mask_rate between 0 and 1, both excluded, found 1\.5: 0\.15"):
        kind([[0.0, 0.3], [1.0, 1.5]])


@each
def test_is_plain_data(corruption: Any) -> None:
    assert pickle.loads(pickle.dumps(corruption)) == corruption


@pytest.mark.parametrize("kind", [TokenMasking, TokenReplacement])
@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_rates_outside_are_one_clear_line(kind: type, rate: float) -> None:
    with pytest.raises(ValueError, match=rf"^expected a mask_rate between 0 and 1, both excluded, found {rate}: 0.15"):
        kind(rate)


@pytest.mark.parametrize("shares", [(0.8, 0.3), (-0.1, 0.1), (1.1, 0.0)])
def test_shares_outside_are_one_clear_line(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"^expected mask_share and random_share of at least 0 .*: BERT's are 0.8"):
        TokenMasking(0.15, *shares)
