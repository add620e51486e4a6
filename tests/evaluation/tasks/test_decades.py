"""Decades of the shipped corpus, whose documents a token cache does not name."""

import gzip
import json
from pathlib import Path

from utils.evaluated_models import evaluated

from lm_objectives.data.preparation.corpus import shipped_corpus
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.decades import decade
from lm_objectives.objectives import CausalLM


def test_each_paragraph_has_the_decade_of_its_document(tmp_path: Path) -> None:
    """Oracle: the shipped document that the paragraph stands in; a document of someone's own has no decade."""
    with gzip.open(shipped_corpus(), "rt", encoding="utf-8") as file:
        documents = [json.loads(line) for line in file][::4]
    own = {
        "id": "1950-own",
        "text": "This is a document of someone's own, about nothing much at all.\n\n" * 40,
    }
    with (tmp_path / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for document in [*documents, own]:
            file.write(json.dumps({"text": document["text"][:4500]}) + "\n")
    model = evaluated(tmp_path / "corpus.jsonl", "llama", {"causal": CausalLM()})
    items = decade(model, 100, 0)
    of = {"".join(document["text"].split()): document["id"] for document in documents}
    parts: dict[bool, set[str]] = {True: set(), False: set()}
    for item in items:
        [name] = {name for text, name in of.items() if "".join(item.text.split()) in text}
        assert item.label == f"{name[:3]}0s"
        parts[item.test].add(name)
    assert len(parts[False]) > 1 and parts[True] and not parts[True] & parts[False]
    assert sum(item.test for item in items) <= 30 and len(items) > 50


def test_another_corpus_has_no_decades(llama: EvaluatedModel) -> None:
    """Oracle: no document of it is a shipped one."""
    assert decade(llama, 100, 0) == []
