"""Items of probes against their definitions, checked sentence by sentence."""

import json
import re
from collections import Counter
from pathlib import Path

from utils.evaluated_models import TOPICS, evaluated

from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.probe_items import (
    bigram_shift,
    choose_items,
    is_test,
    length,
    order,
    paragraphs_of,
    sentences_of,
    word_content,
)
from lm_objectives.evaluation.tasks.probes import make_items
from lm_objectives.objectives import CausalLM


def paragraphs(model: EvaluatedModel) -> list[list[str]]:
    assert model.cache is not None
    return [found for _, found in paragraphs_of(model.cache.validation, model, 0)]


def test_sentences_are_those_of_the_held_out_documents(llama: EvaluatedModel, sentences: Path) -> None:
    """Oracle: the corpus file's own text, cut at full stops."""
    texts = [json.loads(line)["text"] for line in sentences.read_text(encoding="utf-8").splitlines()]
    of_file = {sentence.strip() for text in texts for sentence in re.findall(r"[^.]+\.", text)}
    found = sentences_of(paragraphs(llama))
    assert len(found) == len(set(found)) > 300
    assert {*found} <= of_file and all(5 <= len(sentence.split()) <= 28 for sentence in found)


def test_bigram_shift_exchanges_two_inner_words_of_half_of_the_sentences(llama: EvaluatedModel) -> None:
    """Oracle: the words that differ from the original: none, or two neighbours, neither first nor last."""
    labels: Counter[str] = Counter()
    for base, item in bigram_shift(sentences_of(paragraphs(llama)), 0):
        words, own = item.text.split(), base.split()
        differing = [place for place, pair in enumerate(zip(words, own, strict=True)) if pair[0] != pair[1]]
        labels[item.label] += 1
        if item.label == "original":
            assert differing == []
        else:
            first, second = differing
            assert 0 < first == second - 1 and second < len(own) - 1
            assert (words[first], words[second]) == (own[second], own[first])
    assert abs(labels["shifted"] / labels.total() - 0.5) < 0.08


def test_word_content_asks_for_one_of_the_words_of_mid_frequency(llama: EvaluatedModel) -> None:
    """Oracle: the corpus's six rare words, each in about 1 % of the sentences; the others are in far more."""
    found = word_content(sentences_of(paragraphs(llama)), 0)
    assert {item.label for _, item in found} <= {*TOPICS} and len(found) > 10
    for _, item in found:
        assert [topic for topic in TOPICS if topic in item.text.lower()] == [item.label]


def test_length_is_the_number_of_words() -> None:
    """Oracle: by hand, at the bins' bounds."""
    labels = [length([" ".join(["dog"] * words)], 0)[0][1].label for words in (5, 8, 9, 12, 13, 17, 21, 28)]
    assert labels == ["5-8", "5-8", "9-12", "9-12", "13-16", "17-20", "21-25", "26-28"]


def test_order_has_each_sentence_once() -> None:
    """Oracle: by hand; a sentence that was used, or is too short, parts those around it."""
    a, b, c, d = (f"the {word} runs away." for word in ("dog", "cat", "son", "sea"))
    found = order([[a, b, c], [a, c, d], ["one.", a], [d]], 0)
    assert [base for base, _ in found] == [f"{a} {b}", f"{c} {d}"]
    texts = {f"{a} {b}": "in order", f"{b} {a}": "exchanged", f"{c} {d}": "in order", f"{d} {c}": "exchanged"}
    assert all(texts[item.text] == item.label for _, item in found)
    many = order([[f"number {n} runs away.", f"and {n} goes home."] for n in range(200)], 0)
    assert 70 < sum(item.label == "exchanged" for _, item in many) < 130


def test_no_sentence_is_in_both_parts(llama: EvaluatedModel) -> None:
    """Oracle: the parts of all probes' base sentences; three tenths are tested on."""
    sentences = sentences_of(paragraphs(llama))
    for probe in (bigram_shift, length):
        assert all(item.test == is_test(base) for base, item in probe(sentences, 3))
    assert abs(sum(map(is_test, sentences)) / len(sentences) - 0.3) < 0.06


def test_fewer_items_are_a_part_of_more() -> None:
    """Oracle: sets."""
    items = length([f"the dog runs away {number}." for number in range(50)], 0)
    few, more = choose_items(items, 10, 0), choose_items(items, 30, 0)
    assert len(few) == 10 and {*few} < {*more}
    assert {*few} != {*choose_items(items, 10, 1)}


def test_items_are_the_same_for_other_models(llama: EvaluatedModel, bert: EvaluatedModel, sentences: Path) -> None:
    """Oracle: a model of another family, and one with another tokenizer."""
    other = evaluated(sentences, "llama", {"causal": CausalLM()}, tokenizer=290)
    items = make_items(llama, 100, 0)
    assert [*items] == ["bigram_shift", "word_content", "length", "order"]
    assert items == make_items(bert, 100, 0) == make_items(other, 100, 0)
    assert items["order"] != make_items(llama, 100, 1)["order"]
