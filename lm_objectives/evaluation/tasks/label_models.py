"""Models that give a text a label: a fresh linear head on one state, or a decoder that writes the label's name."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import is_decoder
from lm_objectives.errors import expect
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.frozen_states import FramedTexts, prefix_for
from lm_objectives.evaluation.texts import tokenize_texts
from lm_objectives.objectives import PrefixLM, SpanDenoising, TextDenoising
from lm_objectives.objectives.losses import linear_cross_entropy_sum, token_log_probs
from lm_objectives.views import IGNORED, Attention

Pooling = Literal["first token", "mean", "last token", "text to text"]


class LabelModel(nn.Module, ABC):
    """A model that scores the labels of texts; its parameters are its own."""

    @abstractmethod
    def scores(self, texts: FramedTexts, which: np.ndarray) -> Float[Tensor, "rows labels"]:
        """A score of each label of texts number `which`, the higher the likelier, up to a constant of each text."""

    @abstractmethod
    def loss(self, texts: FramedTexts, which: np.ndarray, labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
        """What training makes small: the mean nats of the right labels of texts number `which`."""


@dataclass(frozen=True)
class LabelReading:
    """How a family is read to tell a text's label.

    Attributes:
        pooling: BERT's first token (Devlin et al. 2019, section 4), the mean over a text's tokens, GPT's last token
            (Radford et al. 2018, section 3.2), or the label's name as text (Raffel et al. 2020, section 2.4).
        attention: of the backbone.
        prefix: special tokens in front of a text.
        objective: whose head writes the name; `None` where none does.
    """

    pooling: Pooling
    attention: Attention
    prefix: tuple[int, ...]
    objective: Any = None

    def make(self, model: EvaluatedModel, labels: Sequence[str]) -> LabelModel:
        """A copy of a model to train for these labels; its head, where it is a fresh one, is drawn by torch."""
        if self.objective is not None:
            return TextToText(model, self.objective, labels)
        return LinearHead(copy.deepcopy(model.module.backbone), len(labels), self.pooling, self.attention)


def label_reading(model: EvaluatedModel) -> LabelReading:
    """How a model is read: text to text where it has a decoder that an objective taught to write, else by its family.

    A decoder is read causally at its last token, unless all of its objectives read both ways; then, and where an
    encoder-decoder's decoder cannot write, the mean is taken. An encoder is read at its first token.
    """
    backbone = model.module.backbone
    objectives: list[Any] = [model.module.objectives[name] for name in model.module.names]
    for objective in objectives:
        writes = isinstance(objective, SpanDenoising | TextDenoising | PrefixLM) and objective.corruption.uses_decoder
        if writes:
            prefix = objective.corruption.prefix_and_suffix(model.vocabulary)[0]
            return LabelReading("text to text", "bidirectional", prefix, objective)
    both_ways = prefix_for(model, "bidirectional")
    if backbone.is_encoder_decoder:
        return LabelReading("mean", "bidirectional", both_ways)
    if not is_decoder(backbone.config.model_type):
        return LabelReading("first token", "bidirectional", both_ways)
    if all(model.module.sources[name].corruption.attention == "bidirectional" for name in model.module.names):
        return LabelReading("mean", "bidirectional", both_ways)
    return LabelReading("last token", "causal", prefix_for(model, "causal"))


class LinearHead(LabelModel):
    """A backbone and a linear head on one state of each text, its weights drawn as the family draws its own.

    Args:
        backbone: is trained, too.
        labels: how many.
        pooling: which state is read.
        attention: of the backbone.
    """

    def __init__(self, backbone: Backbone, labels: int, pooling: Pooling, attention: Attention) -> None:
        super().__init__()
        self.backbone, self.pooling, self.attention = backbone, pooling, attention
        weight = torch.empty(labels, backbone.dim)
        nn.init.normal_(weight, std=backbone.initializer_range)
        self.weight = nn.Parameter(weight.to(backbone.embedding))
        self.bias = nn.Parameter(torch.zeros(labels).to(backbone.embedding))

    def scores(self, texts: FramedTexts, which: np.ndarray) -> Float[Tensor, "rows labels"]:
        device = self.weight.device
        [hidden] = self.backbone.encode([texts.view(which, self.attention).to(device)])
        if self.pooling == "mean":
            weights = texts.mean_weights(which).to(hidden)
            pooled = (hidden * weights[:, :, None]).sum(1)
        else:
            last = torch.from_numpy(texts.lengths[which] - 1).to(device)
            pooled = hidden[torch.arange(len(which), device=device), last * (self.pooling == "last token")]
        return F.linear(pooled, self.weight, self.bias)

    def loss(self, texts: FramedTexts, which: np.ndarray, labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
        return F.cross_entropy(self.scores(texts, which), labels)


class TextToText(LabelModel):
    """An encoder-decoder whose decoder writes the label's name and eos; the name of the least nats is chosen.

    Args:
        model: is copied.
        objective: whose head writes.
        labels: their names.

    Raises:
        InputError: where the tokenizer makes the same of two names.
    """

    def __init__(self, model: EvaluatedModel, objective: Any, labels: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.objective = copy.deepcopy((model.module.backbone, objective))  # they may share weights
        tokenized, eos = tokenize_texts(model.tokenizer, [("", label) for label in labels]), model.vocabulary.eos
        names = [[*part.tolist(), eos] for part in np.split(tokenized.tokens, tokenized.bounds[1:-1])]
        mend = "rename one of them"
        expect(len({*map(tuple, names)}) == len(labels), "labels that the tokenizer tells apart", list(labels), mend)
        width = max(map(len, names))
        self.names = torch.tensor([name + [IGNORED] * (width - len(name)) for name in names])
        self.pad = model.vocabulary.pad

    def _head(self, texts: FramedTexts, which: np.ndarray, names: Int[Tensor, "rows width"]) -> Any:
        """What the logits of all places of these names are made from, and the tokens there."""
        device = self.backbone.embedding.device
        view = texts.view(which, "bidirectional").to(device)
        [hidden] = self.backbone.encode([replace(view, decoder_labels=names.masked_fill(names == IGNORED, self.pad))])
        scored = names != IGNORED
        return self.objective.head(hidden[scored], self.backbone.embedding), names[scored], scored

    def scores(self, texts: FramedTexts, which: np.ndarray) -> Float[Tensor, "rows labels"]:
        columns = []
        for name in self.names.to(self.backbone.embedding.device):
            head, targets, scored = self._head(texts, which, name.expand(len(which), -1))
            columns.append(token_log_probs(head, targets).view(len(which), int(scored[0].sum())).sum(1))
        return torch.stack(columns, dim=1)

    def loss(self, texts: FramedTexts, which: np.ndarray, labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
        head, targets, _ = self._head(texts, which, self.names.to(labels.device)[labels])
        return linear_cross_entropy_sum(head, targets) / len(targets)
