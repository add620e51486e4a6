"""BART's infilling: exact counts, masks for spans, sentences in every order as often."""

import pickle
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from utils.corruption_cases import BOS, EOS, MASK, PAD, VOCABULARY, keys, random_rows, rows_of

from lm_objectives.corruptions.masked_lm import mask_counts
from lm_objectives.corruptions.sampling import sample_spans
from lm_objectives.corruptions.span_lengths import NGram, Poisson
from lm_objectives.corruptions.text_denoising import TextInfilling, infill, permute_sentences
from lm_objectives.corruptions.word_units import units_of
from lm_objectives.views import Rows


def sentences_of(rows: Rows, seed: int = 0) -> Rows:
    """The rows with a sentence's start at one ordinary token of five."""
    marks = np.random.default_rng(seed).random(rows.input_ids.shape) < 0.2
    return replace(rows, sentence_starts=marks & units_of(rows, VOCABULARY).maskable)


ROWS = sentences_of(random_rows(200, 64))
CASES = [
    TextInfilling(),
    TextInfilling(0.6, Poisson(0.2), "token", False),
    TextInfilling(0.15, NGram(), "word"),
    TextInfilling(0.05, Poisson(1.0)),
]
each = pytest.mark.parametrize(
    "corruption", CASES, ids=lambda c: f"{c.rate}-{type(c.lengths).__name__}-{c.unit}-{c.permute_sentences}"
)


def test_literal_example() -> None:
    it, rained, we, stayed, in_, all_, day = 10, 11, 13, 14, 16, 17, 19
    rows = rows_of([BOS, it, rained, we, stayed, in_, all_, day, EOS])
    marks = np.isin(rows.input_ids, (it, we))
    view = TextInfilling(0.43).corrupt(replace(rows, keys=keys(1, 270), sentence_starts=marks), VOCABULARY)
    assert view.input_ids.tolist() == [[BOS, we, MASK, day, it, MASK, rained, EOS, PAD]]
    assert view.lengths.tolist() == [8]
    assert view.decoder_labels is not None and view.decoder_labels.tolist() == rows.input_ids.tolist()
    assert view.label_positions.tolist() == list(range(9)) and view.targets.tolist() == rows.input_ids[0].tolist()
    assert (view.attention, view.padded, view.counts) == ("bidirectional", True, {"loss": 9})


@each
def test_exact_counts_and_what_is_left_keeps_its_order(corruption: TextInfilling) -> None:
    """Oracle: round(rate × words) words are masked, whole, and the others stand in the order of the permuted text."""
    rows = permute_sentences(ROWS, VOCABULARY) if corruption.permute_sentences else ROWS
    view = corruption.corrupt(ROWS, VOCABULARY)
    units = units_of(rows, VOCABULARY, corruption.unit)
    assert (view.lengths.numpy() <= ROWS.lengths).all()
    for row, count in enumerate(units.counts):
        ids = view.input_ids[row, : view.lengths[row]].tolist()
        wanted = max(round(corruption.rate * count), 1)
        masks = ids.count(MASK) - (rows.input_ids[row] == MASK).sum()
        assert 1 <= masks <= wanted
        starts = np.append(np.flatnonzero(units.begins[row]), rows.lengths[row])
        left = [token for token in ids if token != MASK]
        masked = rows.lengths[row] - (rows.input_ids[row] == MASK).sum() - len(left)
        assert wanted <= masked <= np.sort(np.diff(starts))[-wanted:].sum()
        text = iter(rows.input_ids[row].tolist())
        assert all(token in text for token in left)  # a subsequence


@each
def test_a_mask_stands_for_each_span_and_in_front_of_the_place_of_each_of_none(corruption: TextInfilling) -> None:
    """Oracle: a loop over the tokens of each row; the spans are those of `sample_spans`."""
    units = units_of(ROWS, VOCABULARY, corruption.unit)
    counts = units.counts
    spans = sample_spans(ROWS.keys, counts, mask_counts(corruption.rate, counts), corruption.lengths, least=0)
    covered, continuing, empty = (set(of.tolist()) for of in (spans.units, spans.continuing, spans.empty))
    ids, lengths = infill(ROWS, VOCABULARY, corruption.rate, corruption.lengths, corruption.unit)
    unit = -1
    for row in range(len(counts)):
        oracle = []
        for place in range(ROWS.lengths[row]):
            unit += units.begins[row, place]
            if units.begins[row, place]:
                oracle += [MASK] * ((unit in empty) + (unit in covered and unit not in continuing))
            if not (units.maskable[row, place] and unit in covered):
                oracle.append(ROWS.input_ids[row, place])
        assert ids[row, : lengths[row]].tolist() == oracle
    assert len(spans.empty) > 0 or corruption != TextInfilling()


@each
def test_nothing_but_the_text_is_written_and_all_of_it(corruption: TextInfilling) -> None:
    view = corruption.corrupt(ROWS, VOCABULARY)
    assert view.decoder_labels is not None and np.array_equal(view.decoder_labels, ROWS.input_ids)
    assert torch.equal(view.decoder_labels.flatten()[view.label_positions], view.targets)
    assert torch.equal(torch.bincount(view.label_positions // 64), torch.from_numpy(ROWS.lengths))
    assert view.counts == {"loss": ROWS.lengths.sum()}
    assert ((np.arange(64) < view.lengths.numpy()[:, None]) == (view.input_ids != PAD).numpy()).all()


@each
def test_special_tokens_are_not_moved(corruption: TextInfilling) -> None:
    view = corruption.corrupt(ROWS, VOCABULARY)
    last = view.input_ids[torch.arange(200), view.lengths - 1]
    assert (view.input_ids[:, 0] == BOS).all() and (last == EOS).all()
    assert ((view.input_ids == BOS).sum(1) == 1).all() and ((view.input_ids == EOS).sum(1) == 1).all()


@each
def test_a_row_is_the_same_alone(corruption: TextInfilling) -> None:
    whole = corruption.corrupt(ROWS, VOCABULARY)
    assert ROWS.sentence_starts is not None
    for row in (0, 7, 199):
        own = Rows(
            ROWS.keys[[row]], ROWS.input_ids[[row]], ROWS.lengths[[row]], sentence_starts=ROWS.sentence_starts[[row]]
        )
        assert torch.equal(corruption.corrupt(own, VOCABULARY).input_ids[0], whole.input_ids[row])


def test_rows_are_left_alone() -> None:
    before = ROWS.input_ids.copy()
    TextInfilling().corrupt(ROWS, VOCABULARY)
    assert np.array_equal(ROWS.input_ids, before)


def test_every_order_of_sentences_is_as_likely() -> None:
    """Oracle: the 24 orders of four sentences; χ² with 23 degrees of freedom is above 49.7 once in 1,000 times."""
    text = [BOS, 10, 11, 20, 21, 22, 30, 40, 41, EOS]
    rows = rows_of(*[text] * 4800, window=12)
    marks = np.isin(rows.input_ids, (20, 30, 40))  # the first one is cut by the window
    made = permute_sentences(replace(rows, sentence_starts=marks), VOCABULARY)
    pieces = [(10, 11), (20, 21, 22), (30,), (40, 41)]
    orders = [(BOS, *(t for piece in order for t in piece), EOS, PAD, PAD) for order in permutations(pieces)]
    found = [orders.index(tuple(row)) for row in made.input_ids.tolist()]
    assert ((np.bincount(found, minlength=24) - 200) ** 2 / 200).sum() < 49.7
    assert made.sentence_starts is not None
    assert np.array_equal(made.sentence_starts, np.isin(made.input_ids, (10, 20, 30, 40)))


def test_is_plain_data() -> None:
    assert pickle.loads(pickle.dumps(CASES)) == CASES
    assert TextInfilling().for_validation() == TextInfilling()
    assert not TextInfilling.supports_packing and TextInfilling.needs_sentence_starts


def test_rate_outside_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"^expected a mask_rate between 0 and 1, both excluded, found 1\.0: 0\.15"):
        TextInfilling(1.0)
