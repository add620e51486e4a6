"""How fast sentences are scored: sentences a second, over what minicons and lm-eval make of the same model.

    pip install "lm-objectives[oracles]"
    python benchmarks/scoring.py --vocabulary 2048
    python benchmarks/scoring.py --vocabulary 8192 --sentences 200

A model of the quickstart's size, as transformers has it, and sentences of the shipped corpus, or both of each of some
minimal pairs of a file. All score the same sentences in turn; the peers' batches are the best of three sizes, found
before. Ours counts from texts to sums, as theirs do.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import fsspec
import torch
import transformers

from lm_objectives import Backbone, CausalLM, MaskedLM, Pretraining
from lm_objectives.data.cache import TokenCache, open_cache
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.tokenizer import exported_tokenizer
from lm_objectives.evaluation.model import EvaluatedModel, from_module
from lm_objectives.evaluation.readings.base import TextReading
from lm_objectives.evaluation.scorer import Scorer
from lm_objectives.evaluation.tasks.sentences import held_out_sentences
from lm_objectives.evaluation.texts import tokenize_texts
from lm_objectives.export.convert import convert

Score = Callable[[list[str]], list[float]]

_SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 352}
_BATCHES = (8, 32, 128)  # sentences, of the peers


def model_of(family: str, cache: TokenCache) -> EvaluatedModel:
    """A model with random weights."""
    objective = CausalLM() if family == "llama" else MaskedLM()
    module = Pretraining(Backbone(family, _SIZES), {"one": objective})
    module.build(cache.vocabulary, 128, steps=1)
    return from_module(module, cache.tokenizer, cache, {})


def hf_of(
    model: EvaluatedModel, folder: Path
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerFast]:
    """The model and the tokenizer that `export` writes."""
    corruption = model.module.sources["one"].corruption
    tokenizer = exported_tokenizer(
        model.tokenizer, *corruption.prefix_and_suffix(model.vocabulary), ["input_ids", "attention_mask"]
    )
    hf = convert(model.module, "one")[""]
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hf, tokenizer


def ours(model: EvaluatedModel, name: str, batch_tokens: int) -> Score:
    reading = model.readings[name]
    assert isinstance(reading, TextReading)

    def score(sentences: list[str]) -> list[float]:
        texts = tokenize_texts(model.tokenizer, [("", sentence) for sentence in sentences])
        return texts.sums(reading.log_probs(texts, Scorer(model.module, model.vocabulary, batch_tokens))).tolist()

    return score


def minicons_masked(
    hf: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerFast, size: int
) -> Score:
    from minicons.scorer import MaskedLMScorer

    tokenizer.batch_encode_plus = tokenizer.__call__  # which transformers 5 has no more
    scorer = MaskedLMScorer(hf, "cpu", tokenizer)
    return in_batches(lambda some: scorer.sequence_score(some, reduction=lambda x: x.sum().item()), size)


def minicons_causal(
    hf: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerFast, size: int
) -> Score:
    from minicons.scorer import IncrementalLMScorer

    scorer = IncrementalLMScorer(hf, "cpu", tokenizer)
    return in_batches(lambda some: scorer.sequence_score(some, reduction=lambda x: x.sum().item()), size)


def lm_eval_causal(folder: Path, size: int) -> Score:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=size)

    def score(sentences: list[str]) -> list[float]:
        requests = [Instance("loglikelihood", {}, ("", f" {s}"), n) for n, s in enumerate(sentences)]
        return [float(value) for value, _ in model.loglikelihood(requests, disable_tqdm=True)]

    return score


def in_batches(score: Score, size: int) -> Score:
    return lambda sentences: [v for at in range(0, len(sentences), size) for v in score(sentences[at : at + size])]


def race(title: str, scores: dict[str, Score], sentences: list[str], rounds: int) -> None:
    """All of them in turn, some rounds, and a line for each."""
    seconds: dict[str, list[float]] = {name: [] for name in scores}
    for number in range(rounds + 1):
        for name, score in scores.items():
            started = time.perf_counter()
            score(sentences)
            if number:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    print(f"{title}, {len(sentences)} sentences")
    first = next(iter(scores))
    for name, taken in seconds.items():
        ratios = [mine / other for mine, other in zip(taken, seconds[first], strict=True)]
        print(
            f"  {name:<20} {len(sentences) / statistics.median(taken):10.1f} sentences/s"
            f"   {statistics.median(ratios):6.2f} times as long as ours ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def fastest(make: Callable[[int], Score], sentences: list[str]) -> Score:
    """A peer at the best of some batch sizes."""
    taken = {}
    for size in _BATCHES:
        score = make(size)
        score(sentences[:8])
        started = time.perf_counter()
        score(sentences)
        taken[size] = time.perf_counter() - started
    return make(min(taken, key=taken.__getitem__))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_tokens", type=int, default=16384)
    parser.add_argument("--pairs", help="JSON lines of sentence_good and sentence_bad, also .gz")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(prepare(folder=folder, tokenizer=given.vocabulary, validation_share=0.1))
        causal, masked = model_of("llama", cache), model_of("bert", cache)
        if given.pairs:
            with fsspec.open(given.pairs, "rt", compression="infer") as file:
                items = [[row["sentence_good"], row["sentence_bad"]] for row in map(json.loads, file)]
        else:
            items = [[s] for s in held_out_sentences(masked, "swaps") if 4 <= len(s.split()) <= 25]
        number = 5 * given.sentences // len(items[0])
        items = items[:: max(len(items) // number, 1)][:number]
        many = [*dict.fromkeys(chain.from_iterable(items))]  # lm-eval runs the same text once
        sentences = [*dict.fromkeys(chain.from_iterable(items[::5]))]
        with torch.no_grad():
            hf, tokenizer = hf_of(masked, Path(folder) / "masked")
            peer = fastest(lambda size: minicons_masked(hf, tokenizer, size), sentences)
            title = f"{_SIZES['num_hidden_layers']} layers, V {given.vocabulary}"
            race(
                f"masked, {title}",
                {"ours": ours(masked, "masked", given.batch_tokens), "minicons": peer},
                sentences,
                given.rounds,
            )
            hf, tokenizer = hf_of(causal, Path(folder) / "causal")
            peers = {
                "minicons": fastest(lambda size: minicons_causal(hf, tokenizer, size), many),
                "lm-eval": fastest(lambda size: lm_eval_causal(Path(folder) / "causal", size), many),
            }
            race(f"causal, {title}", {"ours": ours(causal, "causal", given.batch_tokens), **peers}, many, given.rounds)


if __name__ == "__main__":
    main()
