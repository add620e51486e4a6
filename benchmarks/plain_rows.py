"""The corruptions written plainly, a row at a time: what benchmarks/batches.py is measured against."""

from collections.abc import Callable

import numpy as np

from lm_objectives.views import Text, Vocabulary

Ids = list[int]


class PlainRows:
    """One row after the other, each by a generator of numpy's that its key seeds.

    Args:
        text: tokens in memory.
        vocabulary: the tokenizer's ids.
    """

    def __init__(self, text: Text, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary = text, vocabulary
        self.special = set(vocabulary.special)
        assert vocabulary.starts_word is not None
        self.starts_word = vocabulary.starts_word.tolist()
        self.named = dict(vocabulary.named_tokens)

    def batch(
        self, corrupt: Callable[[int, int], tuple[Ids, ...]], spans: np.ndarray, keys: np.ndarray
    ) -> list[np.ndarray]:
        """The results of each row, padded into arrays."""
        made = []
        for (start, stop), key in zip(spans.tolist(), keys.tolist(), strict=True):
            self.random = np.random.default_rng(key)
            made.append(corrupt(start, stop))
        arrays = []
        for part in zip(*made, strict=True):
            array = np.full((len(part), max(map(len, part))), self.vocabulary.pad)
            for number, ids in enumerate(part):
                array[number, : len(ids)] = ids
            arrays.append(array)
        return arrays

    def masked_words(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Input and labels of masked n-grams of whole words."""
        ids, labels = self.text.tokens[start:stop].tolist(), [-100] * (stop - start)
        words = self._words(ids)
        budget, taken = max(round(0.15 * len(words)), 1), set()
        for first in self.random.permutation(len(words)).tolist():
            length = 1 + int(self.random.choice(3, p=[6 / 11, 3 / 11, 2 / 11]))
            for number in range(first, min(first + length, len(words))):
                if len(taken) < budget:
                    taken.add(number)
            if len(taken) == budget:
                break
        for number in taken:
            for position in words[number]:
                labels[position] = ids[position]
                coin = self.random.random()
                if coin < 0.8:
                    ids[position] = self.vocabulary.mask
                elif coin < 0.9:
                    ids[position] = int(self.random.integers(self.vocabulary.size))
        return ids, labels

    def spans(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Input and target of T5's span corruption."""
        ids = self.text.tokens[start:stop].tolist()
        noise = min(max(round(0.15 * len(ids)), 1), len(ids) - 1)
        count = max(round(noise / 3), 1)
        kept_parts, noise_parts = self._parts(len(ids) - noise, count), self._parts(noise, count)
        source, target, at = [], [], 0
        for number, (kept, gone) in enumerate(zip(kept_parts, noise_parts, strict=True)):
            sentinel = self.named[f"<extra_id_{number}>"]
            source += [*ids[at : at + kept], sentinel]
            target += [sentinel, *ids[at + kept : at + kept + gone]]
            at += kept + gone
        return [*source, self.vocabulary.eos], [*target, self.vocabulary.eos]

    def infilled(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Input and target of BART's infilling."""
        return self._infill(clean := self.text.tokens[start:stop].tolist()), clean

    def permuted(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """The same with sentences in another order."""
        clean = self.text.tokens[start:stop].tolist()
        first, last = (int(clean[0] == self.vocabulary.bos), len(clean) - int(clean[-1] == self.vocabulary.eos))
        begins = self.text.sentences[:, 0]
        inner = begins[np.searchsorted(begins, start + first + 1) : np.searchsorted(begins, start + last)] - start
        edges = [first, *inner.tolist(), last]
        order = self.random.permutation(len(edges) - 1).tolist()
        mixed = [token for piece in order for token in clean[edges[piece] : edges[piece + 1]]]
        return self._infill([*clean[:first], *mixed, *clean[last:]]), clean

    def order(self, start: int, stop: int) -> tuple[Ids, Ids, Ids]:
        """A pair of segments, which token is of which, and its label."""
        begins = self.text.sentences[:, 0]
        first, last = np.searchsorted(begins, [start, stop]).tolist()
        cut = int(self.random.integers(first + 1, last))
        head = self.text.tokens[start : self.text.sentences[cut - 1, 1]].tolist()
        tail = self.text.tokens[begins[cut] : stop].tolist()
        swapped = int(self.random.integers(2))
        head, tail = (tail, head) if swapped else (head, tail)
        eos = self.vocabulary.eos
        segments = [0] * (len(head) + 2) + [1] * (len(tail) + 1)
        return [self.vocabulary.bos, *head, eos, *tail, eos], segments, [swapped]

    def _infill(self, ids: Ids) -> Ids:
        words = self._words(ids)
        budget, lengths = max(round(0.3 * len(words)), 1), []
        while budget:
            lengths.append(min(int(self.random.poisson(3)), budget))
            budget -= lengths[-1]
        kept = len(words) - sum(lengths)
        slots = self.random.permutation(kept + 1)[: len(lengths)].tolist()
        runs = dict(zip(slots, lengths, strict=False))
        made, word, at = [], 0, 0
        for slot in range(kept + 1):
            if slot in runs:
                first = words[word][0] if word < len(words) else at
                made += [*ids[at:first], self.vocabulary.mask]
                word += runs[slot]
                at = words[word - 1][-1] + 1 if runs[slot] else first
            if slot < kept:
                made += ids[at : words[word][-1] + 1]
                at = words[word][-1] + 1
                word += 1
        return made + ids[at:]

    def _words(self, ids: Ids) -> list[list[int]]:
        words: list[list[int]] = []
        before = True
        for position, token in enumerate(ids):
            if token in self.special:
                before = True
            elif before or self.starts_word[token]:
                words.append([position])
                before = False
            else:
                words[-1].append(position)
        return words

    def _parts(self, items: int, parts: int) -> Ids:
        cuts = np.sort(self.random.permutation(items - 1)[: parts - 1] + 1)
        return np.diff(np.concatenate([[0], cuts, [items]])).tolist()
