"""What each objective of a checkpoint has learned, shown on a few sentences."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lm_objectives.checkpoint import Run, open_run
from lm_objectives.corruption.base import Rows, View
from lm_objectives.corruption.keyed import domain, row_keys
from lm_objectives.data.cache import TokenText, open_cache
from lm_objectives.data.encoding import Encoder, Part
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SentenceOrder
from lm_objectives.pretraining import Pretraining
from lm_objectives.scoring import at_positions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PARAGRAPH = (
    "The river had risen in the night. By morning the lower fields were under water, and the road to the village was "
    "closed. People carried what they could to the school on the hill. Two days later the water went down, and they "
    "began to clean their houses."
)
_EXCERPT = 64  # tokens of the text that are masked or replaced: a few lines on a terminal
_SMALL = 50_000_000  # parameters below which sampled text does not read as text
_COLORS = {"hit": 32, "miss": 31, "alarm": 33}  # as ANSI numbers them
_VERDICT = re.compile(r"^( +(?:\[\d+\] )?)(hit|miss|alarm)\b")


@dataclass(frozen=True)
class Stage:
    """What every objective is shown on.

    Attributes:
        module: the model, in evaluation mode.
        tokenizer: the one it was trained with.
        origin: where the text comes from, in words.
        text: one text, tokenized as a corpus is.
        prompt: tokens that a continuation starts from.
        tokens, temperature, top_p, seed: as in `demo`.
    """

    module: Pretraining
    tokenizer: "PreTrainedTokenizerFast"
    origin: str
    text: TokenText
    prompt: list[int]
    tokens: int
    temperature: float
    top_p: float
    seed: int

    @property
    def key(self) -> np.ndarray:
        """The key of the one row that is shown, `(1,)`."""
        return row_keys(domain("demo", self.seed), np.zeros(1))

    def excerpt(self) -> Rows:
        """The text's first sentences as one row, as many as fit; a part of the first where that is too long."""
        most, stops = min(_EXCERPT, self.module.window), self.text.sentences[:, 1]
        ids = np.asarray(self.text.tokens[: max(stops[stops <= most], default=most)], dtype=np.int64)
        return Rows(self.key, ids[None], np.array([len(ids)]))

    def hidden(self, view: View) -> Float[Tensor, "rows time dim"]:
        """Hidden states of a view."""
        [hidden] = self.module.backbone.encode([view])
        return hidden

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(ids)))

    def token(self, token: int) -> str:
        """A token in quotes, so that its spaces are seen."""
        return json.dumps(self.decode([token]), ensure_ascii=False)

    def marked(self, ids: Sequence[int], marks: dict[int, str]) -> list[str]:
        """Lines of the text of `ids`, the token at each position of `marks` replaced by the mark."""
        ends = [self.decode(ids[:end]).rstrip("�") for end in range(len(ids) + 1)]
        pieces = [ends[at + 1][len(ends[at]) :] for at in range(len(ids))]
        for at, mark in marks.items():
            pieces[at] = " " * pieces[at].startswith(" ") + mark
        return wrapped("".join(pieces))


def demo(
    ckpt_path: str,
    text: str | None = None,
    tokens: int = 40,
    temperature: float = 0.8,
    top_p: float = 0.9,
    seed: int = 0,
) -> None:
    """Show what each objective of a checkpoint has learned.

    CausalLM continues the text, MaskedLM fills masks in it, ReplacedToken looks for the tokens that its generator
    replaced, and SentenceOrder judges two of its parts in both orders.

    Args:
        ckpt_path: the checkpoint to read, for example runs/quickstart/checkpoints/last.ckpt.
        text: what to show it on, some sentences; by default a paragraph that the run held out, or a built-in one where
            the run's tokens are gone.
        tokens: length of the continuation in tokens, at least 1.
        temperature: of the continuation, above 0; below 1 prefers likely tokens.
        top_p: share of the probability that the continuation is drawn from, in (0, 1]; 1 draws from all tokens.
        seed: chooses the paragraph, the masks and the samples.

    Raises:
        ValueError: when a setting is out of range, the text is empty, or the checkpoint cannot be read.
    """
    if tokens < 1:
        raise ValueError(f"expected at least 1 token to continue with, found {tokens}: 40 are a few lines")
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}: 0.8 is usual")
    if not 0 < top_p <= 1:
        raise ValueError(f"expected top_p above 0 and at most 1, found {top_p}: 0.9 is usual")
    if text is not None and not text.strip():
        raise ValueError("expected a text with words, found an empty one: leave text out for a held-out paragraph")
    stage = set_stage(open_run(ckpt_path), text, tokens, temperature, top_p, seed)
    print("\n".join([f"{ckpt_path} on {stage.origin}", *map(paint, show(stage))]))


def set_stage(run: Run, text: str | None, tokens: int, temperature: float, top_p: float, seed: int) -> Stage:
    """Choose the text and tokenize it; a given text is continued whole, another one from its first sentence."""
    if text is not None:
        origin, chosen = "your text", text
    elif (held_out := held_out_paragraph(run.cache, run.tokenizer, run.module.window, seed)) is not None:
        origin, chosen = "a held-out paragraph", held_out
    else:
        origin, chosen = "a built-in paragraph", _PARAGRAPH
    tokenized = tokenize(chosen, run.tokenizer, run.module)
    prompt = tokenized.tokens[: -1 if text is not None else tokenized.sentences[0, 1]].tolist()
    return Stage(run.module, run.tokenizer, origin, tokenized, prompt, tokens, temperature, top_p, seed)


@torch.no_grad()
def show(stage: Stage) -> list[str]:
    """The lines of the demo."""
    lines: list[str] = []
    for name in stage.module.names:
        objective: Any = stage.module.objectives[name]
        kind = type(objective)
        lines += ["", f"{name} ({kind.__name__})"]
        if kind in _ACTS:
            lines += _ACTS[kind](objective, stage)
        else:
            lines.append(f"  the demo has nothing to show for the class {kind.__name__}")
    return lines


def continued(objective: CausalLM, stage: Stage) -> Iterator[str]:
    """The prompt and a continuation."""
    generator = torch.Generator().manual_seed(stage.seed)
    ids = list(stage.prompt)
    embedding, nothing = stage.module.backbone.embedding, torch.zeros(0, dtype=torch.long)
    weight = embedding if objective.head is None else objective.head.weight
    for _ in range(stage.tokens):
        read = torch.tensor([ids[-stage.module.window :]])
        view = View(read, torch.tensor([read.shape[1]]), "causal", nothing, nothing, {})
        logits = F.linear(stage.hidden(view)[0, -1], weight)
        ids.append(sample_token(logits, stage.temperature, stage.top_p, generator))
        if ids[-1] == stage.module.vocabulary.eos:
            break
    given, whole = stage.decode(stage.prompt[1:]), stage.decode(ids[1:])  # without bos
    yield from wrapped(f"given:     {given}")
    yield from wrapped(f"continued: {whole[len(given) :]}")
    size = sum(parameter.numel() for parameter in stage.module.backbone.parameters())
    if size < _SMALL:
        yield f"  (Text sampled from a small model is poor, and this one has {size / 1e6:.1f} M parameters.)"


def sample_token(logits: Float[Tensor, " vocab"], temperature: float, top_p: float, generator: torch.Generator) -> int:
    """A token drawn from the nucleus: the fewest tokens that hold `top_p` of the probability.

    p = softmax(logits / temperature), sorted; a token stays where at before it hold less than `top_p`. Holtzman et
    al. 2020, section 3.1.
    """
    probabilities, order = (logits.double() / temperature).softmax(0).sort(descending=True, stable=True)
    kept = probabilities.cumsum(0) - probabilities < top_p
    return int(order[torch.multinomial(probabilities * kept, 1, generator=generator)])


def filled(objective: MaskedLM, stage: Stage) -> Iterator[str]:
    """Masks, and the three likeliest tokens for each."""
    held_out: Any = objective.corruption.validating()
    corruption = replace(held_out, mask_share=1.0, random_share=0.0)
    rows = stage.excerpt()
    view = corruption.corrupt(rows, stage.module.vocabulary)
    if not len(view.scored):
        yield "  the text has no token to mask"
        return
    probabilities = masked_probabilities(objective, stage, view)
    masked = (view.scored + int(corruption.predict_from == "previous")).tolist()
    yield from stage.marked(rows.ids[0].tolist(), {at: f"[{n}]" for n, at in enumerate(masked, 1)})
    width = max(len(stage.token(target)) for target in view.targets.tolist())
    for number, (target, given) in enumerate(zip(view.targets.tolist(), probabilities, strict=True), 1):
        best, guesses = given.topk(3)
        verdict = "hit " if guesses[0] == target else "miss"
        listed = "  ".join(f"{stage.token(g)} {p:.0%}" for p, g in zip(best.tolist(), guesses.tolist(), strict=True))
        right = f"{stage.token(target):<{width}} {given[target]:>4.0%}"
        yield f"  {f'[{number}]':>4} {verdict} right: {right}   guesses: {listed}"


def masked_probabilities(objective: MaskedLM, stage: Stage, view: View) -> Float[Tensor, "scored vocab"]:
    """The head's distribution at each scored position."""
    states = at_positions(stage.hidden(view), view.scored)
    if objective.transform is not None:
        states = objective.transform(states)
    return F.linear(states, stage.module.backbone.embedding, objective.bias).softmax(1)


def detected(objective: ReplacedToken, stage: Stage) -> Iterator[str]:
    """Tokens that the generator replaced, and what the backbone takes for replaced."""
    rows = stage.excerpt()
    view = objective.corruption.validating().corrupt(rows, stage.module.vocabulary)
    view = objective.complete(view, stage.module.backbone.embeddings())
    scores = objective.logits(stage.hidden(view))[0].sigmoid()
    replaced = view.extra["labels"][0].bool()
    shown = (replaced | (scores > 0.5)).nonzero().flatten().tolist()
    ids, was = view.ids[0].tolist(), rows.ids[0].tolist()
    marks = {at: f"{stage.decode([ids[at]]).strip()}[{n}]" for n, at in enumerate(shown, 1)}
    yield from stage.marked(ids, marks)
    width = max((len(stage.token(ids[at])) for at in shown), default=0)
    for number, at in enumerate(shown, 1):
        verdict = "alarm" if not replaced[at] else "hit  " if scores[at] > 0.5 else "miss "
        origin = f"was {stage.token(was[at])}" if replaced[at] else "is the original"
        yield f"  {f'[{number}]':>4} {verdict} {scores[at]:>4.0%} replaced   {stage.token(ids[at]):<{width}}  {origin}"
    kinds = {"replaced tokens": replaced, "originals": ~replaced}
    means = [f"{scores[at].mean():.0%} for {int(at.sum())} {kind}" for kind, at in kinds.items() if at.any()]
    yield f"  mean probability of being replaced: {', '.join(means)}"


def judged(objective: SentenceOrder, stage: Stage) -> Iterator[str]:
    """Two parts of the text in both orders, and what the head makes of each."""
    vocabulary, window = stage.module.vocabulary, stage.module.window
    spans = objective.corruption.spans(stage.text, window, packing=False)
    if not len(spans):
        yield "  the text has no two sentences in a paragraph that fit the window together"
        return
    drawn = objective.corruption.read(stage.text, spans[np.array([0])], stage.key, window, vocabulary)
    assert drawn.labels is not None
    pair = [drawn, swap(drawn)] if not drawn.labels[0] else [swap(drawn), drawn]
    for name, part in zip(("first: ", "second:"), segments_of(pair[0]), strict=True):
        yield from wrapped(f"{name} {stage.decode(part.tolist())}")
    for rows, order in zip(pair, ("in their order", "swapped"), strict=True):
        view = objective.corruption.corrupt(rows, vocabulary)
        outcome = objective.score(stage.hidden(view), view, stage.module.backbone.embedding)
        right = float(outcome.sums["loss"].neg().exp())  # one pair: its nats are -ln p(right)
        verdict = "hit " if right > 0.5 else "miss"
        yield f"  {verdict} shown {order:<14}  judged so with {right:.0%}"


def segments_of(pair: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Both segments of one row of `SegmentPairs`, without the tokens around them."""
    assert pair.segments is not None
    second, length = int(pair.segments[0].argmax()), int(pair.lengths[0])
    return pair.ids[0, 1 : second - 1], pair.ids[0, second : length - 1]


def swap(pair: Rows) -> Rows:
    """One row of `SegmentPairs` with its segments in the other order.

    [CLS] It rained. [SEP] Nobody minded. [SEP]   ->   [CLS] Nobody minded. [SEP] It rained. [SEP]
    """
    assert pair.segments is not None and pair.labels is not None
    first, second = segments_of(pair)
    ids, segments = pair.ids.copy(), np.zeros_like(pair.segments)
    start, length = len(second) + 2, int(pair.lengths[0])
    separator = pair.ids[0, length - 1 : length]
    ids[0, 1 : length - 1] = np.concatenate([second, separator, first])
    segments[0, start:length] = 1
    return replace(pair, ids=ids, segments=segments, labels=1 - pair.labels)


_ACTS: dict[type[Objective], Callable[[Any, Stage], Iterator[str]]] = {
    CausalLM: continued,
    MaskedLM: filled,
    ReplacedToken: detected,
    SentenceOrder: judged,
}


def held_out_paragraph(cache: Path | None, tokenizer: "PreTrainedTokenizerFast", window: int, seed: int) -> str | None:
    """A paragraph of several sentences that fits the window, from the documents held out; `None` where there is none.

    Args:
        cache: folder of the run's token cache.
        tokenizer: the one that made it.
        window: tokens of a row.
        seed: chooses the paragraph.
    """
    if cache is None:
        return None
    text = open_cache(cache).validation
    first, last = text.paragraphs[:-1], text.paragraphs[1:] - 1
    starts, stops = text.sentences[first, 0], text.sentences[last, 1]
    length, most = stops - starts, min(window - 3, 2 * _EXCERPT)
    fitting = np.flatnonzero((last - first >= 2) & (length >= most // 4) & (length <= most))
    if not len(fitting):
        return None
    chosen = fitting[int(domain("paragraph", seed)) % len(fitting)]
    return str(tokenizer.decode(text.tokens[starts[chosen] : stops[chosen]].tolist()))


def tokenize(text: str, tokenizer: "PreTrainedTokenizerFast", module: Pretraining) -> TokenText:
    """One text as a corpus of one document."""
    encode = Encoder(tokenizer.backend_tokenizer, module.vocabulary, "en")  # English rules know all scripts' full stops
    arrays = encode([Part(text)]).arrays(module.vocabulary.size)
    return TokenText(
        folder=Path(),
        tokens=arrays["tokens"],
        sentences=arrays["sentences"],
        paragraphs=np.append(arrays["paragraphs"], len(arrays["sentences"])),
        documents=np.append(arrays["documents"], len(arrays["tokens"])),
        corpora=np.array([0, len(arrays["tokens"])]),
    )


def wrapped(text: str) -> list[str]:
    """Lines no wider than the terminal, indented."""
    width = min(shutil.get_terminal_size().columns, 110)
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")


def paint(line: str) -> str:
    """The line with its verdict in color, on a terminal that wants it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    return _VERDICT.sub(lambda found: f"{found[1]}\033[{_COLORS[found[2]]}m{found[2]}\033[0m", line)
