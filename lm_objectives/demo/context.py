"""What the demo shows objectives on: the model, a text, and how both are written on a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.random import derive_seed, row_keys
from lm_objectives.data.cache import TokenText
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder, TokenArrays
from lm_objectives.data.tokenizer import vocabulary_of
from lm_objectives.demo.generate import Sampling
from lm_objectives.demo.terminal import wrap
from lm_objectives.errors import expect
from lm_objectives.objectives.base import LossOutput, Objective, baseline_metrics, combine_losses
from lm_objectives.training.module import Pretraining
from lm_objectives.training.run import LoadedRun
from lm_objectives.views import Rows, View, Vocabulary

_BUILT_IN = (
    "The river had risen in the night. By morning the lower fields were under water, and the road to the village was "
    "closed. People carried what they could to the school on the hill. Two days later the water went down, and they "
    "began to clean their houses.",
    "Bread takes little more than flour, water and salt. The dough is left to rest in a warm place. After some hours "
    "it has doubled, and is ready for the oven. A crust that sounds hollow is done.",
)
_LONGEST = 128  # tokens of a held-out paragraph: some lines on a terminal
_EXCERPT = 64  # tokens of the text that are corrupted: a few lines
_ROWS = 16  # that loss and metrics are measured on


@dataclass(frozen=True)
class DemoContext:
    """What every objective is shown on.

    Attributes:
        module: the model, in evaluation mode.
        tokenizer: the one it was trained with.
        vocabulary: the tokenizer's ids, and where words begin.
        origin: where the text comes from, in words.
        text: one text, tokenized as a corpus is.
        with_another: the same, followed by a text of another origin.
        prompt: tokens that a continuation starts from.
        sampling: how a continuation is generated.
    """

    module: Pretraining
    tokenizer: PreTrainedTokenizerFast
    vocabulary: Vocabulary
    origin: str
    text: TokenText
    with_another: TokenText
    prompt: list[int]
    sampling: Sampling

    def keys(self, count: int = 1) -> np.ndarray:
        """The keys of the first rows, `(count,)`."""
        return row_keys(derive_seed("demo", self.sampling.seed), np.arange(count))

    def excerpt(self, corruption: Corruption) -> Rows:
        """The first sentences of a corruption's first window as one row, as many as fit; part of one that is too long.

        Raises:
            InputError: where the text is too short for a row.
        """
        [[first, stop]] = self._windows(self.text, corruption, 1)
        stops, limit = self.text.sentences[:, 1], min(stop, first + _EXCERPT)
        stop = max(stops[stops <= limit], default=limit)
        return corruption.read_rows(
            self.text, np.array([[first, stop]]), self.keys(), self.module.seq_len, self.vocabulary
        )

    def _windows(self, text: TokenText, corruption: Corruption, most: int) -> np.ndarray:
        windows = corruption.windows(text, self.module.seq_len, packing=False)
        expect(
            bool(len(windows)), f"a text with a row for {type(corruption).__name__}", "none in it", "give a longer text"
        )
        return windows[np.arange(min(len(windows), most))]

    def score(self, objective: Objective, rows: Rows) -> tuple[View, LossOutput]:
        """The view of rows, made as held-out ones are, and the objective's loss on it."""
        backbone, corrupted = self.module.backbone, self.held_out(objective).corrupt(rows, self.vocabulary)
        view = objective.fill_in(corrupted, backbone.embedding_parameters())
        [hidden] = backbone.encode([view])
        return view, objective.compute_loss(hidden, view, backbone.embedding)

    def held_out(self, objective: Objective) -> Corruption:
        """The corruption that held-out rows are made with at the end of the training."""
        return objective.corruption.at_step(self.module.steps, self.module.steps).for_validation()

    def measure(self, objective: Objective) -> Iterator[str]:
        """Lines of an objective's loss, its parts and its metrics on the text's first rows, made as held-out ones are.

        Raises:
            InputError: where the text is too short for a row.
        """
        corruption = self.held_out(objective)
        text = self.text.stream(corruption)
        windows = self._windows(text, corruption, _ROWS)
        rows = corruption.read_rows(text, windows, self.keys(len(windows)), self.module.seq_len, self.vocabulary)
        view, output = self.score(objective, rows)
        values = {part: float(total) / max(view.counts[part], 1) for part, total in output.loss_sums.items()}
        values["loss"] = float(combine_losses(objective.loss_weights, output.loss_sums, view.counts))
        baselines = baseline_metrics(objective)
        inputs = {**output.metric_inputs, **dict.fromkeys(baselines, (view.targets,))}
        for name, metric in {**objective.metrics(), **baselines}.items():
            if name in inputs:
                metric.update(*inputs[name])
                values[name] = float(metric.compute())
        width = max(map(len, values))
        for name, value in values.items():
            unit = " nats" if name == "loss" or name in objective.loss_weights else ""
            yield f"  {name:<{width}}  {value:.3f}{unit}"

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(list(ids)))

    def quote(self, *ids: int) -> str:
        """The text of tokens in quotes, so that its spaces are seen."""
        return json.dumps(self.decode(ids), ensure_ascii=False)

    def mark(self, ids: Sequence[int], marks: Mapping[int, str]) -> list[str]:
        """Lines of the text of `ids`, the token at each position of `marks` replaced by the mark."""
        ends = [self.decode(ids[:end]).rstrip("�") for end in range(len(ids) + 1)]
        pieces = [ends[at + 1][len(ends[at]) :] for at in range(len(ids))]
        for at, mark in marks.items():
            pieces[at] = " " * pieces[at].startswith(" ") + mark
        return wrap("".join(pieces))


def make_context(run: LoadedRun, text: str | None, sampling: Sampling) -> DemoContext:
    """Choose a text and tokenize it; a given one is continued whole, another one from its first sentence.

    Raises:
        InputError: where the tokenizer finds nothing in the text.
    """
    tokenizer, module = run.tokenizer, run.module
    vocabulary = vocabulary_of(tokenizer, tuple(dict(module.vocabulary.named_tokens)))
    held_out = sample_paragraphs(run.cache, tokenizer, module.seq_len, sampling.seed)
    origin = "your text" if text is not None else "a held-out paragraph" if held_out else "a built-in paragraph"
    shown, another = [*([] if text is None else [text]), *held_out, *_BUILT_IN][:2]
    tokens = tokenize([shown], tokenizer, vocabulary)
    prompt = tokens.tokens[: -1 if text is not None else tokens.sentences[0, 1]].tolist()
    with_another = tokenize([shown, another], tokenizer, vocabulary)
    return DemoContext(module, tokenizer, vocabulary, origin, tokens, with_another, prompt, sampling)


def sample_paragraphs(
    cache: Path | None, tokenizer: PreTrainedTokenizerFast, window: int, seed: int
) -> tuple[str, ...]:
    """Two paragraphs of several sentences, from two of the documents held out, or as many as there are.

    Of a paragraph that is longer than the window, those sentences that fit are taken.

    Args:
        cache: folder of the run's token cache.
        tokenizer: the one that made it.
        window: tokens of a row.
        seed: chooses the paragraphs.
    """
    if cache is None:
        return ()
    text = TokenText.open(cache / "validation")
    first, most = text.paragraphs[:-1], min(window - 3, _LONGEST)
    starts = text.sentences[first, 0]
    last = np.minimum(text.paragraphs[1:], np.searchsorted(text.sentences[:, 1], starts + most, side="right")) - 1
    stops = text.sentences[last, 1]
    fitting = np.flatnonzero((last - first >= 2) & (stops - starts >= most // 4))
    documents = np.searchsorted(text.documents, starts, side="right")
    found: list[str] = []
    while len(fitting) and len(found) < 2:
        chosen = fitting[int(derive_seed("paragraph", seed)) % len(fitting)]
        found.append(str(tokenizer.decode(text.tokens[starts[chosen] : stops[chosen]].tolist())))
        fitting = fitting[documents[fitting] != documents[chosen]]
    return tuple(found)


def tokenize(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> TokenText:
    """Texts as a corpus of so many documents.

    Raises:
        InputError: where the tokenizer finds nothing in one.
    """
    # English rules know all scripts' full stops
    made = Encoder(tokenizer.backend_tokenizer, vocabulary, "en", pairs=True)(DocumentPiece(text) for text in texts)
    mend = "give another text"
    expect(not made.counts["without_tokens"], "a text with words", "one in which the tokenizer knows none", mend)
    assert made.pairs is not None
    return _to_text(made.text, vocabulary.size, _to_text(made.pairs, vocabulary.size))


def _to_text(made: TokenArrays, vocabulary_size: int, pairs: TokenText | None = None) -> TokenText:
    arrays = made.arrays(vocabulary_size)
    for name, last in (("paragraphs", made.sentence_count), ("documents", made.length)):
        arrays[name] = np.append(arrays[name], last)
    return TokenText(Path(), **arrays, corpora=np.array([0, made.length]), pairs=pairs)
