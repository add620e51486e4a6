"""Exported folders, scored by public tools: each sentence to 1e-4 nats of what the checkpoint's own readings say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import BatchEncoding
from utils.evaluated import ids_of, scores, texts_of, word_slices
from utils.families import FAMILIES, SEQ2SEQ

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.evaluation.model import EvaluatedModel, from_checkpoint, from_folder
from lm_objectives.export import export
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SpanDenoising, TextDenoising

pytestmark = pytest.mark.slow

SENTENCES = (
    "The dog ran home.",
    "A cat sat away from the hill, and one bird came.",
    "My son went to the sea.",
    "One bird, home, ran away to the dogs.",
)
SEQ2SEQ_SIZES = {"t5": SEQ2SEQ["t5"], "bart": SEQ2SEQ["bart"] | {"max_position_embeddings": 64}}


@pytest.fixture(scope="module")
def exported(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trains a family with one objective; gives the checkpoint's model, and the folder that it is exported to."""

    def make(family: str, objective: Objective) -> tuple[EvaluatedModel, Path]:
        sizes = (FAMILIES | SEQ2SEQ_SIZES)[family]
        if "max_position_embeddings" in sizes:
            sizes = sizes | {"max_position_embeddings": 64}
        checkpoint = train(Backbone(family, sizes), {"one": objective})
        folder = tmp_path_factory.mktemp("exported") / "folder"
        export(str(checkpoint), str(folder), "one")
        return from_checkpoint(str(checkpoint)), folder

    return make


def sums(model: EvaluatedModel, name: str) -> list[float]:
    texts = texts_of(model, *SENTENCES)
    return [float(found.sum()) for found in scores(model, name, texts)]


def test_causal_is_what_lm_eval_says(exported: Any, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    model, folder = exported("llama", CausalLM())
    pairs = [{"sentence_good": SENTENCES[n], "sentence_bad": SENTENCES[n - 1]} for n in range(len(SENTENCES))]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    task = {
        "task": "pairs",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(tmp_path / "pairs.jsonl")}},
        "output_type": "multiple_choice",
        "validation_split": "validation",
        "doc_to_text": "",
        "doc_to_target": 0,
        "target_delimiter": "",
        "doc_to_choice": "{{[' ' + sentence_good, ' ' + sentence_bad]}}",
        "metric_list": [{"metric": "acc"}],
    }
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "device": "cpu", "dtype": "float32"},
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    ours, accuracy = sums(model, "causal"), found["results"]["pairs"]["acc,none"]
    for sample in found["samples"]["pairs"]:
        number = sample["doc_id"]
        theirs = [float(response[0][0]) for response in sample["resps"]]
        np.testing.assert_allclose([ours[number], ours[number - 1]], theirs, atol=1e-4)
    assert accuracy == np.mean([ours[n] > ours[n - 1] for n in range(len(ours))])
    np.testing.assert_allclose(sums(from_folder(str(folder)), "causal"), ours, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_masked_and_by_word_are_what_minicons_says(family: str, exported: Any) -> None:
    from minicons.scorer import MaskedLMScorer

    generator = family == "electra"
    model, folder = exported(family, ReplacedToken() if generator else MaskedLM())
    folder = folder / "generator" if generator else folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.batch_encode_plus = tokenizer.__call__  # which transformers 5 has no more
    theirs = MaskedLMScorer(transformers.AutoModelForMaskedLM.from_pretrained(folder), "cpu", tokenizer)
    names = {"original": "generator"} if generator else {"original": "masked", "within_word_l2r": "masked_word"}
    for metric, name in names.items():
        expected = theirs.sequence_score([*SENTENCES], reduction=lambda x: x.sum().item(), PLL_metric=metric)
        np.testing.assert_allclose(sums(model, name), expected, atol=1e-4)
        reread = from_folder(str(folder))
        np.testing.assert_allclose(sums(reread, "masked" if generator else name), expected, atol=1e-4)


@pytest.mark.parametrize("family", SEQ2SEQ_SIZES)
def test_spans_and_infilling_are_what_minicons_says_of_the_same_input_and_target(family: str, exported: Any) -> None:
    from minicons.scorer import Seq2SeqScorer

    spans = family == "t5"
    model, folder = exported(family, SpanDenoising() if spans else TextDenoising())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    hf = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    theirs, known = Seq2SeqScorer(hf, "cpu", tokenizer), model.vocabulary
    texts, start = texts_of(model, *SENTENCES), hf.config.decoder_start_token_id
    hidden = dict(known.named_tokens)["<extra_id_0>"] if spans else known.mask
    for number, found in enumerate(scores(model, "spans" if spans else "infill", texts)):
        ids = ids_of(texts, number)
        expected = []
        for first, stop in word_slices(model, ids):
            begins = [] if spans else [known.bos]
            source = [*begins, *ids[:first], hidden, *ids[stop:], known.eos]
            target = [start, hidden, *ids[first:stop]] if spans else [start, known.bos, *ids[:stop]]
            batch = *(_encoding(row) for row in (source, target)), [0]
            [every] = theirs.compute_conditional_stats(batch)
            expected += every[first - stop :]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(
        sums(from_folder(str(folder)), "spans" if spans else "infill"),
        sums(model, "spans" if spans else "infill"),
        atol=1e-4,
    )


def _encoding(row: list[int]) -> BatchEncoding:
    return BatchEncoding({"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))})
