"""Generated text is what `generate` gives for the whole exported model, and is compared with what is right."""

import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from lm_objectives import show
from lm_objectives.demo import show_seq2seq
from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling, generate, input_view
from lm_objectives.demo.show_seq2seq import len_common, split_at_sentinels
from lm_objectives.export.convert import convert
from lm_objectives.objectives import CausalLM, PrefixLM, SpanDenoising, TextDenoising
from lm_objectives.training.run import load_run


def said(lines: list[str]) -> str:
    """The lines as one, up to the note on small models."""
    return " ".join(line.strip() for line in lines if not line.startswith("  ("))


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """What `generate` reads and gives, each time that it is called."""
    calls: list[tuple[list[int], list[int]]] = []

    def record(objective: Any, module: Any, ids: list[int], *arguments: Any) -> list[int]:
        calls.append((ids, generate(objective, module, ids, *arguments)))
        return calls[-1][1]

    monkeypatch.setattr(show_seq2seq, "generate", record)
    return calls


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_continuations_are_those_of_the_exported_model(family: str, context_for: Any) -> None:
    """Oracle: `generate(do_sample=False)` of the model that `export` writes."""
    made: DemoContext = context_for(
        family, {"causal": CausalLM()}, "The dog ran home. My son", Sampling(6, greedy=True)
    )
    objective: Any = made.module.objectives["causal"]
    lines = list(show(objective, made))
    model: Any = convert(made.module, "causal")[""]
    ids = torch.tensor([made.prompt])
    asked = GenerationConfig(
        do_sample=False, max_new_tokens=6, eos_token_id=made.vocabulary.eos, pad_token_id=made.vocabulary.pad
    )
    written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0].tolist()
    assert len(written) > ids.shape[1]
    given, whole = made.decode(made.prompt[1:]), made.decode(written[1:])
    assert said(lines) == said([f"given:     {given}", f"continued: {whole[len(given) :]}"])
    assert "Text sampled from a small model is poor" in lines[-1]


@pytest.mark.parametrize("mode", [None, "[S]"])
def test_what_a_decoder_writes_after_a_prefix_is_what_the_exported_model_writes(
    mode: str | None, context_for: Any
) -> None:
    """Oracle: `generate(do_sample=False)` of the model that `export` writes, on the mode and the prompt."""
    objectives = {"prefix": PrefixLM(mode=mode, layout="encoder-decoder")}
    made: DemoContext = context_for("t5", objectives, "The dog ran home. My son", Sampling(6, greedy=True))
    objective: Any = made.module.objectives["prefix"]
    model: Any = convert(made.module, "prefix")[""]
    named = dict(made.vocabulary.named_tokens)
    ids = torch.tensor([[*([named[mode]] if mode else []), *made.prompt]])
    asked = GenerationConfig(
        do_sample=False,
        max_new_tokens=6,
        eos_token_id=made.vocabulary.eos,
        pad_token_id=made.vocabulary.pad,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0, 1:].tolist()
    given, whole = made.decode(made.prompt[1:]), made.decode([*made.prompt[1:], *written])
    assert said(list(show(objective, made))) == said([f"prefix:    {given}", f"continued: {whole[len(given) :]}"])


@pytest.mark.parametrize("mode", [None, "[S]"])
@torch.no_grad()
def test_a_prefix_is_continued_within_the_window_by_its_likeliest_tokens(
    mode: str | None, context_for: Any, generated: list[tuple[list[int], list[int]]]
) -> None:
    """Oracle: `compute_loss` of the finished row, whose accuracy is 1 after the prefix."""
    for text in ("The dog ran home.", "The dog ran home. " * 20):
        made: DemoContext = context_for("llama", {"prefix": PrefixLM(mode=mode)}, text, Sampling(8, greedy=True))
        objective: Any = made.module.objectives["prefix"]
        lines = list(show(objective, made))
        prefix, told = generated[-1]
        front = [] if mode is None else [dict(made.vocabulary.named_tokens)[mode]]
        assert prefix[: len(front)] == front and prefix[len(front) :] == made.prompt[len(front) - len(prefix) :]
        assert len(prefix) == min(len(front) + len(made.prompt), made.module.seq_len - 8) and len(told) <= 8
        whole = input_view([*prefix, *told], "prefix", len(prefix))
        scored = torch.arange(len(prefix) - 1, len(prefix) + len(told) - 1)
        view = replace(whole, label_positions=scored, targets=torch.tensor(told))
        [hidden] = made.module.backbone.encode([view])
        outcome = objective.compute_loss(hidden, view, made.module.backbone.embedding)
        assert outcome.metric_inputs["accuracy"][0].all()
        assert lines[0].startswith("  prefix:    ") and " continued:" in said(lines)
        assert mode is None or mode not in said(lines)


def test_the_model_forgets_what_the_window_does_not_hold(tiny_run: Path) -> None:
    """Oracle: the same end behind another beginning."""
    run, told = load_run(str(tiny_run)), []
    for beginning in ("A cat sat away. ", "My son came to the sea. "):
        text = beginning * 10 + "The dog ran home. " * 20
        made = make_context(run, text, Sampling(8, greedy=True))
        objective: Any = run.module.objectives["causal"]
        told.append(said(list(show(objective, made))).split(" continued:")[1])
    assert told[0] == told[1]


END, FIRST, SECOND = 2, 90, 91


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([FIRST, 5, 6, SECOND, 7, END, 8], {FIRST: [5, 6], SECOND: [7]}),
        ([5, FIRST, SECOND, 7], {FIRST: [], SECOND: [7]}),
        ([FIRST, 5, FIRST, 6, SECOND, 7], {FIRST: [5], SECOND: [7]}),
        ([5, 6, END], {}),
        ([], {}),
    ],
)
def test_generated_spans_are_split_at_sentinels(ids: list[int], expected: dict[int, list[int]]) -> None:
    assert split_at_sentinels(ids, {FIRST, SECOND}, END) == expected


CASES: dict[str, tuple[str, SpanDenoising]] = {
    "t5": ("t5", SpanDenoising(0.3)),
    "bart": ("bart", SpanDenoising(0.3, mode="[R]")),
    "one row": ("llama", SpanDenoising(0.3, layout="prefix", mode="[X]")),
}


@pytest.fixture(scope="module", params=CASES)
def spans(request: pytest.FixtureRequest, context_for: Any) -> DemoContext:
    family, objective = CASES[request.param]
    return context_for(family, {"spans": objective})


def written_as(context: DemoContext, ids: list[int], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a model that generates these tokens."""
    monkeypatch.setattr(show_seq2seq, "generate", lambda *arguments: ids)
    objective: Any = context.module.objectives["spans"]
    return list(show(objective, context))


def verdicts(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if line.startswith("  <extra_id_")]


def target(context: DemoContext) -> list[int]:
    objective: Any = context.module.objectives["spans"]
    return objective.corruption.corrupt(context.excerpt(objective.corruption), context.vocabulary).targets.tolist()


def test_right_spans_are_hits_and_others_are_not(spans: DemoContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the corruption's own target, written whole, cut short and with one token changed."""
    right = target(spans)
    count = sum(spans.decode([token]).startswith("<extra_id_") for token in right)
    lines = written_as(spans, right, monkeypatch)
    assert verdicts(lines) == ["hit"] * count and lines[-1] == f"  {count} of {count} spans restored"
    lines = written_as(spans, right[:1], monkeypatch)
    assert verdicts(lines) == ["miss"] * count and lines[-1] == f"  0 of {count} spans restored"
    assert count == 1 or "written: nothing" in "\n".join(lines)
    lines = written_as(spans, [right[0], right[1] + 1, *right[2:]], monkeypatch)
    assert verdicts(lines) == ["miss", *["hit"] * (count - 1)]


def test_the_text_shows_each_sentinel_once_and_all_else_that_is_not_noise(
    spans: DemoContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: putting the right spans back gives the text."""
    lines = written_as(spans, [], monkeypatch)
    told = " ".join(line.strip() for line in lines[: [line[:4] == "  <e" for line in lines].index(True)])
    right = split_at_sentinels(
        target(spans),
        {token for token in target(spans) if spans.decode([token]).startswith("<extra_id_")},
        spans.vocabulary.eos,
    )
    for token, span in right.items():
        assert told.count(spans.decode([token])) == 1
        told = told.replace(spans.decode([token]), spans.decode(span))
    text = spans.decode(spans.text.tokens[1:-1].tolist())
    assert text.replace(" ", "").startswith(told.removeprefix("[R]").removeprefix("[X]").replace(" ", ""))


@pytest.mark.parametrize(
    ("family", "objective"), [("t5", SpanDenoising(0.3)), ("bart", SpanDenoising(0.3)), ("bart", TextDenoising())]
)
@torch.no_grad()
def test_what_the_model_restores_is_what_the_exported_model_writes(
    family: str, objective: Any, context_for: Any, generated: list[tuple[list[int], list[int]]]
) -> None:
    """Oracle: `generate(do_sample=False)` of T5ForConditionalGeneration and BartForConditionalGeneration."""
    made: DemoContext = context_for(family, {"it": objective})
    lines = list(show(made.module.objectives["it"], made))
    [(read, told)] = generated
    model: Any = convert(made.module, "it")[""]
    model.generation_config = GenerationConfig()  # BART's would end each text at the limit
    asked = GenerationConfig(
        do_sample=False,
        max_new_tokens=len(told),
        eos_token_id=made.vocabulary.eos,
        pad_token_id=made.vocabulary.pad,
        decoder_start_token_id=made.module.backbone.config.decoder_start_token_id,
    )
    ids = torch.tensor([read])
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)
    assert theirs[0, 1:].tolist() == told and told
    if isinstance(objective, SpanDenoising):
        assert set(verdicts(lines)) <= {"hit", "miss"} and lines[-1].endswith("spans restored")
    else:
        assert any(line.startswith("  written:") for line in lines) and " right tokens in their order" in lines[-1]


def test_a_text_of_one_token_is_one_clear_line(spans: DemoContext) -> None:
    objective: Any = spans.module.objectives["spans"]
    tokens, sentences = spans.text.tokens[:2], spans.text.sentences[:1].copy()
    sentences[0] = (1, 2)
    with pytest.raises(ValueError, match=r"^expected a text of 2 tokens to leave a span out of, found a shorter one"):
        list(show(objective, replace(spans, text=replace(spans.text, tokens=tokens, sentences=sentences))))


def is_within(part: tuple[int, ...], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


def test_common_tokens_are_the_longest_common_subsequence() -> None:
    """Oracle: all subsequences, tried from the longest on."""
    draw = random.Random(0)
    for _ in range(60):
        left, right = (draw.choices(range(4), k=draw.randint(0, 7)) for _ in range(2))
        sizes = [
            size for size in range(len(left) + 1) if any(is_within(part, right) for part in combinations(left, size))
        ]
        assert len_common(left, right) == max(sizes)


@pytest.fixture(scope="module", params=["word", "token"])
def texts(request: pytest.FixtureRequest, context_for: Any) -> DemoContext:
    return context_for("bart", {"text": TextDenoising(unit=request.param)})


def test_the_right_text_and_the_corrupted_one_are_counted(texts: DemoContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the text itself, the text without its last three tokens, and nothing."""
    objective: Any = texts.module.objectives["text"]
    rows = texts.excerpt(objective.corruption)
    right = rows.input_ids[0, : int(rows.lengths[0])].tolist()
    words = len(right) - 1  # without bos
    for ids, expected in ((right, words), ([*right[:-3], texts.vocabulary.eos], words - 3), ([], 0)):
        monkeypatch.setattr(show_seq2seq, "generate", lambda *arguments, ids=ids: ids)
        corrupted, *lines, count = show(objective, texts)
        assert corrupted.startswith("  corrupted: ") and "[MASK]" in "\n".join([corrupted, *lines])
        assert count.startswith(f"  {expected} of {words} right tokens in their order; the corrupted text has ")
        assert int(count.rsplit(" ", 1)[1]) < words
        told = " ".join(line.strip() for line in lines).split("right:")[1]
        assert " ".join(told.split()) == " ".join(texts.decode(right[1:]).split())


def test_a_text_without_a_word_is_one_clear_line(texts: DemoContext) -> None:
    objective: Any = texts.module.objectives["text"]
    bare = replace(texts.text, tokens=texts.text.tokens[:1], sentences=texts.text.sentences[:0])
    with pytest.raises(ValueError, match=r"^expected a text with a word to leave out, found none: give a longer text"):
        list(show(objective, replace(texts, text=bare)))
