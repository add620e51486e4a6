"""T5's spans: published lengths, exact counts, and a target that restores the text."""

import pickle
from dataclasses import replace
from math import comb

import numpy as np
import pytest
import torch
from utils.corruption_cases import BOS, EOS, MASK, PAD, VOCABULARY, keys, rows_of, toy_text

from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.views import Rows, View, Vocabulary

FIRST = 5000  # T5's sentinels stand at the end of the vocabulary, the first one last


def vocabulary_for(corruption: SpanCorruption, window: int) -> Vocabulary:
    named = tuple((token, FIRST - number) for number, token in enumerate(corruption.special_tokens(window)))
    special = (*VOCABULARY.special, *(token for _, token in named))
    return replace(VOCABULARY, size=FIRST + 1, named_tokens=named, special=special)


def read(corruption: SpanCorruption, window: int, count: int, length: int = 900) -> Rows:
    text = toy_text([[[length]], [[length - 7]], [[60]]])
    windows = corruption.windows(text, window, True)
    chosen = np.arange(count) % len(windows)
    return corruption.read_rows(text, windows[chosen], keys(count), window, vocabulary_for(corruption, window))


def halves(corruption: SpanCorruption, view: View, row: int) -> tuple[list[int], list[int]]:
    """Input and target of a row, without the mode and the end tokens."""
    ids = view.input_ids[row, : view.lengths[row]].tolist()
    if view.decoder_labels is not None:
        own = view.label_positions // view.decoder_labels.shape[1] == row
        source, target = ids, view.decoder_labels[row][: int(own.sum())].tolist()
    else:
        assert view.prefix_lengths is not None
        source, target = ids[: view.prefix_lengths[row]], ids[view.prefix_lengths[row] :]
    assert source[-1] == target[-1] == EOS
    return source[int(corruption.mode is not None) : -1], target[:-1]


CASES = [
    SpanCorruption(),
    SpanCorruption(0.5, 3.0),
    SpanCorruption(0.5, 32.0, mode="[X]"),
    SpanCorruption(layout="prefix"),
    SpanCorruption(0.9, 1.0, layout="prefix", mode="[X]"),
]
each = pytest.mark.parametrize("corruption", CASES, ids=str)


def test_literal_example() -> None:
    thank, you, for_, inviting, me, to, your, party, last, week = range(10, 20)
    rows = rows_of([thank, you, for_, inviting, me, to, your, party, last, week])
    corruption = SpanCorruption(0.4, 2.0)
    vocabulary = vocabulary_for(corruption, 10)
    first, second = (dict(vocabulary.named_tokens)[f"<extra_id_{number}>"] for number in range(2))
    assert first == second + 1
    view = corruption.corrupt(replace(rows, keys=keys(1, 17)), vocabulary)
    assert view.input_ids.tolist() == [[thank, you, first, me, to, your, party, second, EOS]]
    assert view.decoder_labels is not None and view.decoder_labels.tolist() == [
        [first, for_, inviting, second, last, week, EOS]
    ]
    assert view.label_positions.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert view.targets.tolist() == [first, for_, inviting, second, last, week, EOS]
    assert (view.attention, view.prefix_lengths, view.counts) == ("bidirectional", None, {"loss": 7})

    one = SpanCorruption(0.4, 2.0, "prefix", mode="[R]")
    padded = rows_of([thank, you, for_, inviting, me, to, your, party, last, week], window=18)
    named = (*vocabulary.named_tokens, ("[R]", 50))
    view = one.corrupt(replace(padded, keys=keys(1, 17)), replace(vocabulary, named_tokens=named))
    source = [50, thank, you, first, me, to, your, party, second, EOS]
    target = [first, for_, inviting, second, last, week, EOS]
    assert view.input_ids.tolist() == [[*source, *target, PAD]]
    assert view.prefix_lengths is not None and view.prefix_lengths.tolist() == [10]
    assert view.label_positions.tolist() == [9, 10, 11, 12, 13, 14, 15]
    assert view.targets.tolist() == target
    assert (view.attention, view.decoder_labels, view.lengths.tolist()) == ("prefix", None, [17])


@pytest.mark.parametrize(
    ("window", "rate", "mean", "raw", "target"),
    [(512, 0.15, 3.0, 568, 114), (512, 0.5, 3.0, 766, 512), (128, 0.15, 3.0, 141, 29)],
)
def test_lengths_are_t5s(window: int, rate: float, mean: float, raw: int, target: int) -> None:
    """Oracle: the lengths that seqio's `random_spans_helper` publishes for these settings."""
    corruption = SpanCorruption(rate, mean)
    assert corruption.raw_length(window) == raw
    assert [int(length[0]) for length in corruption.input_and_target_lengths(np.array([raw]))] == [window, target]
    view = corruption.corrupt(read(corruption, window, 1), vocabulary_for(corruption, window))
    assert view.input_ids.shape == (1, window) and view.lengths.tolist() == [window] and not view.padded
    assert (
        view.decoder_labels is not None
        and view.decoder_labels.shape == (1, target)
        and len(view.label_positions) == target
    )


@pytest.mark.parametrize(
    ("rate", "mean"), [(0.15, 3.0), (0.15, 8.0), (0.5, 3.0), (0.5, 8.0), (0.5, 64.0), (0.15, 64.0)]
)
def test_lengths_are_seqios_for_each_of_ul2s_denoisers(rate: float, mean: float) -> None:
    """Oracle: the search of seqio's `random_spans_helper` written out, at UL2's inputs and targets of 512 tokens."""

    def lengths(tokens: int) -> tuple[int, int]:
        noise = round(tokens * rate)
        spans = round(noise / mean)
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = 512
    while max(lengths(tokens + 1)) <= 512:
        tokens += 1
    corruption = SpanCorruption(rate, mean)
    assert corruption.raw_length(512) == tokens
    assert tuple(int(length[0]) for length in corruption.input_and_target_lengths(np.array([tokens]))) == lengths(
        tokens
    )
    with_mode = SpanCorruption(rate, mean, mode="[X]")
    assert (
        max(int(length[0]) for length in with_mode.input_and_target_lengths(np.array([with_mode.raw_length(512)])))
        == 512
    )


@each
@pytest.mark.parametrize("window", [16, 41, 128])
def test_every_row_fits_and_has_a_sentinel_for_each_span(corruption: SpanCorruption, window: int) -> None:
    """Oracle: lengths of rows of every length up to the longest, and the next longer one does not fit."""
    raw = corruption.raw_length(window)
    source, target = corruption.input_and_target_lengths(np.arange(2, raw + 2))
    room = source + target if corruption.layout == "prefix" else np.maximum(source, target)
    assert (room[:-1] <= window).all() and room[-1] > window
    sentinels = [token for token in corruption.special_tokens(window) if token.startswith("<extra_id_")]
    assert len(sentinels) == corruption.noise_counts(np.arange(2, raw + 1))[1].max()
    assert corruption.special_tokens(window)[len(sentinels) :] == (
        () if corruption.mode is None else (corruption.mode,)
    )


@each
def test_filling_the_sentinels_restores_the_text(corruption: SpanCorruption) -> None:
    rows = read(corruption, 128, 60)
    vocabulary = vocabulary_for(corruption, 128)
    view = corruption.corrupt(rows, vocabulary)
    sentinels = {token: number for number, token in enumerate(dict(vocabulary.named_tokens).values())}
    for row, length in enumerate(rows.lengths):
        source, target = halves(corruption, view, row)
        spans: list[list[int]] = []
        for token in target:
            if token in sentinels:
                assert sentinels[token] == len(spans)
                spans.append([])
            else:
                spans[-1].append(token)
        noise, count = corruption.noise_counts(np.array([length]))
        assert (sum(map(len, spans)), len(spans)) == (noise, count) and all(spans)
        assert source[0] not in sentinels
        numbers = [sentinels[token] for token in source if token in sentinels]
        assert numbers == list(range(len(spans)))
        restored = [piece for token in source for piece in (spans[sentinels[token]] if token in sentinels else [token])]
        assert restored == rows.input_ids[row, :length].tolist()


@each
def test_what_is_scored_is_the_target_and_no_padding(corruption: SpanCorruption) -> None:
    rows = read(corruption, 64, 40)
    view = corruption.corrupt(rows, vocabulary_for(corruption, 64))
    assert view.counts == {"loss": len(view.label_positions)}
    assert (np.diff(view.label_positions) > 0).all() and not (view.targets == PAD).any()
    if view.decoder_labels is not None:
        assert torch.equal(view.decoder_labels.flatten()[view.label_positions], view.targets)
        assert (view.decoder_labels != PAD).sum() == len(view.label_positions)
    else:  # a token is predicted from the one before it
        assert torch.equal(view.input_ids.flatten()[view.label_positions + 1], view.targets)
        assert view.prefix_lengths is not None and torch.equal(
            view.lengths - view.prefix_lengths, torch.bincount(view.label_positions // 64)
        )
    assert ((view.input_ids != PAD).sum(1) == view.lengths).all()


@each
def test_a_row_is_the_same_alone(corruption: SpanCorruption) -> None:
    rows, vocabulary = read(corruption, 64, 20), vocabulary_for(corruption, 64)
    whole = corruption.corrupt(rows, vocabulary)
    for row in (0, 7, 19):
        alone = corruption.corrupt(Rows(rows.keys[[row]], rows.input_ids[[row]], rows.lengths[[row]]), vocabulary)
        assert halves(corruption, alone, 0) == halves(corruption, whole, row)


def test_windows_leave_out_the_ends_of_documents_and_hold_one_each() -> None:
    text = toy_text([[[40]], [[3]], [[10], [10]]])
    corruption = SpanCorruption()
    windows = corruption.windows(text, 16, True)
    assert corruption.raw_length(16) == 17
    assert windows[np.arange(len(windows))].tolist() == [[1, 18], [18, 35], [35, 41], [43, 46], [48, 65], [65, 69]]
    rows = corruption.read_rows(text, windows[np.arange(6)], keys(6), 16, VOCABULARY)
    assert not np.isin(rows.input_ids, (BOS, EOS)).any() and rows.position_ids is None


def test_special_tokens_are_never_noise() -> None:
    rows = rows_of(*[[BOS, 10, EOS, 11, 12, EOS, 13, 14]] * 200)
    corruption = SpanCorruption(0.4, 1.0)
    view = corruption.corrupt(rows, vocabulary_for(corruption, 8))
    for row in range(200):
        source, target = halves(corruption, view, row)
        assert [token for token in source if token in (BOS, EOS)] == [BOS, EOS, EOS]
        assert not {BOS, EOS} & set(target)


@each
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.45])
def test_rows_of_special_tokens_lose_no_more_of_their_ends_than_they_must(
    corruption: SpanCorruption, share: float
) -> None:
    """Oracle: the lengths of every shorter row, and the text that input and target still hold."""
    rows, vocabulary = read(corruption, 64, 30), vocabulary_for(corruption, 64)
    unknown, ordinary = MASK, np.random.default_rng(0).random(rows.input_ids.shape) < share
    ids = np.where(ordinary, 10 + rows.input_ids % 80, unknown)
    ids[np.arange(ids.shape[1]) >= rows.lengths[:, None]] = PAD
    view = corruption.corrupt(replace(rows, input_ids=ids), vocabulary)
    widest = (
        64
        if corruption.layout == "prefix"
        else int(corruption.input_and_target_lengths(np.array([ids.shape[1]]))[0][0])
    )
    assert view.input_ids.shape[1] == widest
    sentinels = [number for token, number in vocabulary.named_tokens if token.startswith("<extra_id_")]
    for row, length in enumerate(rows.lengths):
        source, target = halves(corruption, view, row)
        kept = sorted(token for token in (*source, *target) if token not in sentinels)
        assert kept == sorted(ids[row, : len(kept)].tolist())
        if len(kept) < length:
            assert corruption.layout == "encoder-decoder"
            for longer in range(len(kept) + 1, length + 1):
                assert source_length(corruption, ids[row, :longer]) > widest
        assert source_length(corruption, ids[row, : len(kept)]) == len(source) + 1 + (corruption.mode is not None)


def source_length(corruption: SpanCorruption, ids: np.ndarray) -> int:
    ordinary = int((ids > MASK).sum())
    wanted, spans = (int(number[0]) for number in corruption.noise_counts(np.array([len(ids)])))
    noise = min(wanted, max(ordinary - 1, 0))
    return len(ids) - noise + min(spans, noise, ordinary - noise) + 1 + (corruption.mode is not None)


def test_ends_that_rows_of_special_tokens_lose_are_counted() -> None:
    """Oracle: an input of 512 holds 511 tokens without noise and its end, of 568 that are read for it."""
    corruption, text = SpanCorruption(), toy_text([[[568]], [[568]], [[300]]])
    text.tokens[text.tokens > EOS] = MASK
    text.tokens[700:1200] = 50
    dropped = corruption.dropped_counts(text, 512, False, vocabulary_for(corruption, 512))
    assert dropped == {"last tokens that would be alone": 0, "tokens at the end of rows of too many special ones": 57}


def test_rows_without_two_ordinary_tokens_have_no_noise() -> None:
    corruption = SpanCorruption()
    view = corruption.corrupt(rows_of([BOS, 9, EOS], [9, 8, 7]), vocabulary_for(corruption, 16))
    assert view.input_ids[0].tolist() == [BOS, 9, EOS, EOS]
    assert view.targets[0] == EOS


def test_spans_lie_anywhere_and_are_as_long_as_chance_has_it() -> None:
    """Oracle: uniform cuts of 15 into 5: a part of n has chance C(14 - n, 3) / C(14, 4); 4.5 σ of 20,000 spans."""
    corruption = SpanCorruption()
    rows = rows_of(*[list(range(4, 104))] * 4000)
    view = corruption.corrupt(rows, vocabulary_for(corruption, 128))
    assert view.decoder_labels is not None
    target = np.append(view.decoder_labels.numpy()[:, :20].ravel(), FIRST)
    lengths = np.diff(np.flatnonzero(target > 4000)) - 1
    assert len(lengths) == 20_000
    for length in range(1, 8):
        chance = comb(14 - length, 3) / comb(14, 4)
        spread = np.sqrt(chance * (1 - chance) / 20_000)
        assert (lengths == length).mean() == pytest.approx(chance, abs=4.5 * spread)
    noise = np.bincount(target[target < 4000], minlength=104)[4:]
    inner = noise[30:70]  # rarer than at the end of a row, whose last token always is noise
    chance = inner.mean() / 4000
    assert chance == pytest.approx(0.13, abs=0.01)
    assert np.abs(inner - 4000 * chance).max() < 4.5 * np.sqrt(4000 * chance * (1 - chance))


def test_is_plain_data() -> None:
    assert pickle.loads(pickle.dumps(CASES)) == CASES
    assert CASES[0].for_validation() is CASES[0]
    assert not CASES[0].supports_packing


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"noise_density": 0.0},
            r"^expected a noise_density between 0 and 1, both excluded, found 0\.0: 0\.15 is T5's$",
        ),
        (
            {"mean_noise_span_length": 0.5},
            r"^expected a mean_noise_span_length of at least 1 token, found 0\.5: 3\.0 is T5's$",
        ),
    ],
)
def test_settings_that_cannot_be_are_one_clear_line(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpanCorruption(**settings)  # type: ignore[arg-type]


def test_missing_sentinels_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"^expected the special token <extra_id_0> in the tokenizer, found none: pre"):
        SpanCorruption().corrupt(rows_of([5, 6, 7]), VOCABULARY)
