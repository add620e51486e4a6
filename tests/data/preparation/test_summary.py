"""The summary's numbers against the text that they are of."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from utils.row_cases import VOCABULARY

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.corruptions.windows import FixedLengthWindows
from lm_objectives.data.cache import CorpusStatistics, TokenCache, TokenText
from lm_objectives.data.dataset import RowDataset, RowSettings
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.data.preparation.summary import summary
from lm_objectives.views import Text


def text(documents: list[list[list[int]]]) -> TokenText:
    """Documents of paragraphs of sentences, each given by its length; bos, eos and separators between."""
    tokens, sentences, paragraphs, starts = 0, [], [], []
    for document in documents:
        starts.append(tokens)
        for lengths in document:
            tokens += 1  # bos or a separator
            paragraphs.append(len(sentences))
            for length in lengths:
                sentences.append((tokens, tokens + length))
                tokens += length
        tokens += 1
    ids = np.full(tokens, 7, dtype=np.uint16)
    return TokenText(
        Path(),
        ids,
        np.array(sentences),
        np.array([*paragraphs, len(sentences)]),
        np.array([*starts, tokens]),
        np.array([0, tokens]),
    )


def test_numbers() -> None:
    training, validation = text([[[3, 4], [20], [2]], [[5, 5, 5, 5]]]), text([[[2]]])
    training = replace(training, pairs=training)
    statistics = CorpusStatistics(20, 244, 200, 44, 12, 6, 2, 0, 0.5, 1.25)
    found = TokenCache(Path("caches/a"), training, validation, VOCABULARY, statistics, "", {})
    sources = {
        "causal": ObjectiveRows(NextToken()),
        "masked": ObjectiveRows(TokenMasking(rate=0.25)),
        "order": ObjectiveRows(SentenceOrderPairs()),
        "both": ObjectiveRows(TokenMasking(), shares_rows_with="order"),
    }
    lines = summary(found, RowDataset(training, sources, VOCABULARY, RowSettings(16, packing=False), "training"))
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in lines.split("\n\n")[0].splitlines())
    assert facts == {
        "documents": "3: 2 for training, 1 held out; left out 2 without text",
        "sentences": "9",
        "tokens": "59: 55 for training, 4 held out",
        "words": "20, of 2.95 tokens",
        "characters": "244, 4.14 a token",
        "unknown": "6 tokens, 10.17 %",
        "vocabulary": f"{VOCABULARY.size} tokens, trained on 50.0 % of the training text",
        "cache": "caches/a",
        "took": "1.2 s",
    }
    table = [re.split(r"  +", line) for line in lines.split("\n\n")[1].splitlines()]
    # Documents of 33 and 22 tokens: 16 + 16 and one alone, 16 + 6, of which causal scores all but each row's first.
    assert table[2] == [
        "causal",
        "4",
        f"{100 * 50 / 64:.1f} %",
        f"{100 * 10 / 64:.1f} %",
        "1 last tokens that would be alone",
    ]
    assert table[3][:2] == ["masked", "4"]
    # Pairs 3 + 4, 5 + 5, 5 + 5 with three tokens around them.
    oracle = f"{100 * 3 / 48:.1f} %", f"{100 * (1 - 36 / 48):.1f} %"
    assert table[4] == [
        "order",
        "3",
        *oracle,
        "1 sentences longer than the window, 1 sentences without another to pair them with",
    ]
    assert table[5][:2] == ["both", "those of order"]


def test_words_of_scripts_without_spaces_are_not_counted() -> None:
    split = text([[[8]]])
    found = TokenCache(
        Path("caches/a"), split, split, VOCABULARY, CorpusStatistics(2, 20, 40, 0, 11, 0, 0, 0, 1.0, 0.0), "", {}
    )
    lines = summary(
        found, RowDataset(split, {"causal": ObjectiveRows(NextToken())}, VOCABULARY, RowSettings(8), "training")
    )
    assert "words       not counted: 55 % of the characters are of scripts without spaces between words\n" in lines


def test_windows_count_last_tokens_alone() -> None:
    """Oracle: what the windows themselves leave out."""
    bounds = np.array([0, 1, 2, 10, 19, 27, 44])
    for window in (2, 4, 8):
        windows = FixedLengthWindows(bounds, window)
        covered = sum(int(stop - start) for start, stop in windows[np.arange(len(windows))])
        assert windows.dropped_single_tokens == bounds[-1] - covered


def test_text_is_one() -> None:
    assert isinstance(text([[[1]]]), Text)
