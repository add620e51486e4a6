"""Make the items of probes from sentences: texts and labels that need no annotation."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from lm_objectives.corruptions.random import derive_seed, permute
from lm_objectives.data.cache import TokenText
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.linear_probe import ProbeItem

_BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))  # words: Conneau et al. 2018, section 2
_SHORTEST_OF_PAIR = 3  # words of each sentence
_PARAGRAPHS = 20_000  # that are read, at most
_WORDS = 10  # of which word content asks
_COMMON = 0.02  # share of the sentences that a word of mid frequency stands in, at most


def paragraphs_of(text: TokenText, model: EvaluatedModel, seed: int) -> Iterator[tuple[int, list[str]]]:
    """The first token of each paragraph and the text of its sentences, their white space made single spaces.

    Of more than 20,000 paragraphs as many are chosen by the seed.
    """
    total = len(text.paragraphs) - 1
    chosen = np.arange(total)
    if total > _PARAGRAPHS:
        chosen = np.sort(permute(np.arange(_PARAGRAPHS), total, derive_seed("paragraphs", seed)))
    for number in chosen:
        sentences = text.sentences[text.paragraphs[number] : text.paragraphs[number + 1]]
        decoded = model.tokenizer.batch_decode([text.tokens[start:stop].tolist() for start, stop in sentences])
        found = [" ".join(sentence.split()) for sentence in decoded]
        yield int(sentences[0][0]), [sentence for sentence in found if sentence]


def sentences_of(paragraphs: Sequence[list[str]]) -> list[str]:
    """Each different sentence of 5 to 28 words once, those that Conneau et al. have."""
    sentences = dict.fromkeys(sentence for paragraph in paragraphs for sentence in paragraph)
    return [sentence for sentence in sentences if _BINS[0][0] <= len(sentence.split()) <= _BINS[-1][1]]


def choose_items(items: Sequence[tuple[str, ProbeItem]], most: int, seed: int) -> list[ProbeItem]:
    """At most so many items, those with the least keys of the texts that they are made from."""
    by_key = sorted(items, key=lambda item: int(derive_seed("probe items", seed, item[0])))
    return [item for _, item in by_key[:most]]


def is_test(text: str) -> bool:
    """Whether a text belongs to the test part, three tenths of all; a function of the text alone."""
    return int(derive_seed("probe part", text) % np.uint64(10)) >= 7


def bigram_shift(sentences: Sequence[str], seed: int) -> list[tuple[str, ProbeItem]]:
    """Whether two neighbouring words inside a sentence were exchanged (Conneau et al. 2018, section 2).

        We have come this far together.      original
        We have this come far together.      shifted

    Half of the sentences are shifted. The first word and the last stay, and neither of the exchanged ones has
    punctuation, so that capitals and commas in odd places tell nothing.
    """
    items = []
    for sentence in sentences:
        words = sentence.split()
        pairs = pairwise(range(1, len(words) - 1))
        places = [i for i, j in pairs if words[i].isalpha() and words[j].isalpha() and words[i] != words[j]]
        if places:
            key = int(derive_seed("bigram shift", seed, sentence))
            at, shifted = places[(key >> 1) % len(places)], bool(key & 1)
            if shifted:
                words[at : at + 2] = words[at + 1], words[at]
            label = "shifted" if shifted else "original"
            items.append((sentence, ProbeItem(" ".join(words), None, label, is_test(sentence))))
    return items


def word_content(sentences: Sequence[str], seed: int) -> list[tuple[str, ProbeItem]]:
    """Which of ten words of mid frequency a sentence has (Conneau et al. 2018, section 2, where there are a thousand).

    The words are the commonest of at least four letters that stand in at most 2 % of the sentences. Each sentence has
    exactly one of them.
    """
    del seed
    of = [{word for word in re.findall(r"[^\W\d_]+", sentence.lower()) if len(word) > 3} for sentence in sentences]
    counts = Counter(word for words in of for word in words)
    rare = sorted((-count, word) for word, count in counts.items() if count <= _COMMON * len(sentences))
    asked = {word for _, word in rare[:_WORDS]}
    items = []
    for sentence, words in zip(sentences, of, strict=True):
        found = sorted(words & asked)
        if len(found) == 1:
            items.append((sentence, ProbeItem(sentence, None, found[0], is_test(sentence))))
    return items


def length(sentences: Sequence[str], seed: int) -> list[tuple[str, ProbeItem]]:
    """How many words a sentence has, in six bins from 5 to 28 (Conneau et al. 2018, section 2).

    >>> length(["We have come this far."], 0)[0][1].label
    '5-8'
    """
    del seed
    items = []
    for sentence in sentences:
        words = len(sentence.split())
        low, high = next(bounds for bounds in _BINS if bounds[0] <= words <= bounds[1])
        items.append((sentence, ProbeItem(sentence, None, f"{low}-{high}", is_test(sentence))))
    return items


def order(paragraphs: Sequence[list[str]], seed: int) -> list[tuple[str, ProbeItem]]:
    """Whether two sentences that follow one another were exchanged: ALBERT's question (Lan et al. 2020, section 3.1),
    asked of one text.

        It rained all day. We got wet.       in order
        We got wet. It rained all day.       exchanged

    No sentence is in two texts.
    """
    seen: set[str] = set()
    items = []
    for paragraph in paragraphs:
        left: str | None = None
        for sentence in paragraph:
            if sentence in seen or len(sentence.split()) < _SHORTEST_OF_PAIR:
                left = None
            elif left is None or left == sentence:
                left = sentence
            else:
                seen |= {left, sentence}
                base = f"{left} {sentence}"
                exchanged = bool(int(derive_seed("order", seed, base)) & 1)
                text, label = (f"{sentence} {left}", "exchanged") if exchanged else (base, "in order")
                items.append((base, ProbeItem(text, None, label, is_test(base))))
                left = None
    return items
