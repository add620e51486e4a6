"""Special tokens around a text that a model is given are those around the rows that it learns from."""

import dataclasses

import numpy as np
import pytest
from utils.corruption_cases import BOS, EOS, VOCABULARY, keys, toy_text

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.corruptions.prefix_lm import PrefixNextToken
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.text_denoising import TextInfilling

MODE, WINDOW = 90, 40
CORRUPTIONS: dict[Corruption, tuple[list[int], list[int]]] = {
    TokenMasking(): ([BOS], [EOS]),
    TokenReplacement(): ([BOS], [EOS]),
    SentenceOrderPairs(): ([BOS], [EOS]),
    NextSentencePairs(): ([BOS], [EOS]),
    TextInfilling(): ([BOS], [EOS]),
    SpanCorruption(): ([], [EOS]),
    SpanCorruption(mode="[R]"): ([MODE], [EOS]),
    PrefixNextToken(share=0.5, layout="encoder-decoder"): ([BOS], []),
    PrefixNextToken(share=0.5, layout="encoder-decoder", mode="[S]"): ([MODE, BOS], []),
    NextToken(): ([BOS], []),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_prefix_and_suffix_are_those_of_rows_of_whole_documents(corruption: Corruption) -> None:
    text = toy_text([[[10, 12]]] * 8)
    text = dataclasses.replace(text, tokens=np.where(text.tokens >= 1000, 4 + text.tokens % 80, text.tokens))
    sentinels = tuple((f"<extra_id_{number}>", 91 + number) for number in range(4))
    vocabulary = dataclasses.replace(VOCABULARY, named_tokens=(("[R]", MODE), ("[S]", MODE), *sentinels))
    prefix, suffix = map(list, corruption.prefix_and_suffix(vocabulary))
    assert (prefix, suffix) == CORRUPTIONS[corruption]

    windows = corruption.windows(text, WINDOW, packing=False)[np.arange(8)]
    rows = corruption.read_rows(text, windows, keys(8), WINDOW, vocabulary)
    view = corruption.corrupt(rows, vocabulary)
    for ids, length in zip(view.input_ids.tolist(), view.lengths.tolist(), strict=True):
        assert ids[: len(prefix)] == prefix and ids[len(prefix)] not in (BOS, MODE)
        if view.attention == "bidirectional":  # a causal row is never read to its end
            assert (ids[length - 1] == EOS) == (suffix == [EOS])
