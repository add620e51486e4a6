"""How fast rows are made: tokens a second of one core, over what peers make.

    python benchmarks/batches.py

Masked batches against Hugging Face's `DataCollatorForLanguageModeling`, which is given the same token rows, as lists
and as tensors, with and without the masks of special tokens. The other corruptions against benchmarks/plain_rows.py.
Ours read the text and corrupt it. All take turns of some batches, one after another as a worker makes them, on one
thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from plain_rows import PlainRows
from transformers import DataCollatorForLanguageModeling

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.random import derive_seed, permute, row_keys
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.span_lengths import NGram
from lm_objectives.corruptions.text_denoising import TextInfilling
from lm_objectives.data.cache import TokenText, open_cache
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.sampler import keep_freed_memory
from lm_objectives.views import Text, Vocabulary

_TURN = 8  # batches

Make = Callable[[np.ndarray, np.ndarray], Any]
"""Makes a batch of the spans, `(rows, 2)`, with the keys, `(rows,)`."""


def made(corruption: Corruption, text: Text, vocabulary: Vocabulary, window: int, spans: Any, keys: Any) -> int:
    """A batch as a run makes it; gives the tokens that were read."""
    rows = corruption.read_rows(text, spans, keys, window, vocabulary)
    corruption.corrupt(rows, vocabulary)
    return int(rows.lengths.sum())


def in_memory(text: TokenText) -> TokenText:
    """The same with its arrays read from the disk."""
    arrays = {name: np.array(getattr(text, name)) for name in ("tokens", "sentences", "paragraphs", "documents")}
    return replace(text, **arrays)


def race(
    windows: Any, rows: int, rounds: int, ours: Make, peers: Mapping[str, tuple[Make, Callable[..., Any]]]
) -> None:
    """Some batches of each in turn, and a line for each.

    Args:
        windows: where rows start and stop in the text.
        rows: of a batch.
        rounds: counted turns of each.
        ours: gives the tokens of a batch.
        peers: what is put before a peer while the clock stands still, and what is timed.
    """
    runs: dict[str, tuple[Make, Callable[..., Any]]] = {"ours": (lambda *row: row, ours), **peers}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    tokens = []
    for number in range(-1, rounds):
        k = np.arange(number * rows * _TURN, (number + 1) * rows * _TURN).reshape(_TURN, rows) % len(windows)
        batches = [
            (windows[permute(own, len(windows), derive_seed("order"))], row_keys(derive_seed("batches"), own))
            for own in k
        ]
        tokens.append(sum(ours(*batch) for batch in batches))
        for name, (prepared, make) in runs.items():
            given = [prepared(*batch) for batch in batches]
            started = time.thread_time()
            for arguments in given:
                make(*arguments)
            seconds[name].append(time.thread_time() - started)
    for name, spent in seconds.items():
        counted = list(zip(tokens, spent, seconds["ours"], strict=True))[1:]
        speed = statistics.median(count / own for count, own, _ in counted) / 1e6
        lower, middle, upper = statistics.quantiles([own / ours for _, own, ours in counted], n=4)
        over = "" if name == "ours" else f"   ours {middle:5.1f} x   (quartiles {lower:.1f} to {upper:.1f})"
        print(f"    {name:<56}{speed:7.2f} M tokens/s{over}")


def main() -> None:
    """Print a table for each window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=131_072, help="tokens of a batch; BERT's holds 256 rows of 512")
    parser.add_argument("--rounds", type=int, default=15, help="counted turns of each, of 8 batches")
    parser.add_argument("--corpus", help="text to read, by default the shipped corpus")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(
            prepare(
                folder, arguments.corpus, validation_share=0.05, tokens=SpanCorruption().special_tokens(512), pairs=True
            )
        )
        tokenizer, vocabulary = cache.tokenizer, cache.vocabulary
        text = in_memory(cache.training)
        text = replace(text, pairs=in_memory(text.stream(SentenceOrderPairs())))
    special = torch.tensor(vocabulary.special)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def given(spans: np.ndarray, keys: np.ndarray, tensors: bool, masks: bool) -> tuple[list[dict[str, Any]]]:
        del keys
        features = []
        for start, stop in spans:
            ids = torch.from_numpy(text.tokens[start:stop].astype(np.int64))
            row = {"input_ids": ids} | ({"special_tokens_mask": torch.isin(ids, special).long()} if masks else {})
            features.append(row if tensors else {name: value.tolist() for name, value in row.items()})
        return (features,)

    hugging_face = {
        f"Hugging Face's collator, {kind}{', special tokens given' * masks}": (
            partial(given, tensors=kind == "tensors", masks=masks),
            collate,
        )
        for kind in ("lists", "tensors")
        for masks in (False, True)
    }
    others: dict[str, tuple[Corruption, Callable[..., Any]]] = {
        "masked n-grams of words": (TokenMasking(unit="word", lengths=NGram()), PlainRows.masked_words),
        "T5's spans": (SpanCorruption(), PlainRows.spans),
        "infilling": (TextInfilling(permute_sentences=False), PlainRows.infilled),
        "infilling, sentences permuted": (TextInfilling(), PlainRows.permuted),
        "sentence order": (SentenceOrderPairs("document"), PlainRows.order),
    }
    for window in (512, 128):
        rows, rounds = arguments.tokens // window, arguments.rounds
        print(f"window {window}, {rows} rows a batch\n  masked tokens")
        masking = TokenMasking()
        ours = partial(made, masking, text, vocabulary, window)
        race(masking.windows(text, window, packing=True), rows, rounds, ours, hugging_face)
        for name, (corruption, peer) in others.items():
            print(f"  {name}")
            read = text.stream(corruption)
            plain = PlainRows(read, vocabulary)
            ours = partial(made, corruption, read, vocabulary, window)
            peers = {"a row at a time": (lambda *row: row, partial(plain.batch, partial(peer, plain)))}
            race(corruption.windows(read, window, packing=False), rows, rounds, ours, peers)


if __name__ == "__main__":
    main()
