"""Fine-tune a copy of the whole model to tell the labels of texts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lm_objectives.corruptions.random import derive_seed, permute
from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.evaluation.tasks.frozen_states import FramedTexts
from lm_objectives.evaluation.tasks.label_models import LabelModel, LabelReading

RATES = (1e-4, 3e-4, 1e-3)
"""Learning rates, of which the best on the validation part is taken."""

SEEDS = 3
"""How often the model is fine-tuned with it, each time from another head and in another order."""

_EPOCHS, _BATCH, _WARMUP, _DECAY, _CLIP = 3, 16, 0.1, 0.01, 1.0


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Texts with labels, and what each is for.

    Attributes:
        texts: all of them.
        names: of the labels.
        labels: number of the label of each text, `(texts,)`.
        train, validation, test: numbers of the texts of each part.
    """

    texts: FramedTexts
    names: Sequence[str]
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def steps(self) -> int:
        """Optimizer steps of one training."""
        return _EPOCHS * math.ceil(len(self.train) / _BATCH)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What fine-tuned models say of the test part.

    Attributes:
        correct: 1 where the label is right, `(seeds, test texts)`.
        rate: the learning rate that was taken.
        validation: accuracy on the validation part with each rate, by the first seed.
    """

    correct: np.ndarray
    rate: float
    validation: dict[float, float]


def fine_tune(
    model: EvaluatedModel,
    reading: LabelReading,
    data: LabelledData,
    seed: int,
    batch_tokens: int,
    advance: Callable[[int], object] = lambda steps: None,
) -> FineTuned:
    """Fine-tune copies of a model, which stays as it is: three rates with one seed, the best rate with two more.

    Three epochs of AdamW in batches of 16, a linear warmup over a tenth of the steps and a linear decay, gradients
    clipped to a norm of 1 (Devlin et al. 2019, appendix A.3, but for larger rates, as a small model wants). Weights and
    products have the precision of the model's weights.

    Args:
        model: in evaluation mode.
        reading: how it is read.
        data: texts and labels.
        seed: of heads, dropout and the order of the texts.
        batch_tokens: of a batch that is only read, at most.
        advance: is told of each optimizer step.
    """
    validation: dict[float, float] = {}
    rows: list[np.ndarray] = []
    for rate in RATES:
        tuned = train(model, reading, data, rate, int(derive_seed("fine-tuning", seed, 0) >> np.uint64(1)), advance)
        validation[rate] = float(correct_labels(tuned, data, data.validation, batch_tokens).mean())
        if validation[rate] > max([*validation.values()][:-1], default=-1.0):
            rows = [correct_labels(tuned, data, data.test, batch_tokens)]
    best = max(validation, key=lambda rate: validation[rate])
    for number in range(1, SEEDS):
        word = int(derive_seed("fine-tuning", seed, number) >> np.uint64(1))
        rows.append(correct_labels(train(model, reading, data, best, word, advance), data, data.test, batch_tokens))
    return FineTuned(np.stack(rows), best, validation)


def train(
    model: EvaluatedModel,
    reading: LabelReading,
    data: LabelledData,
    rate: float,
    seed: int,
    advance: Callable[[int], object] = lambda steps: None,
) -> LabelModel:
    """A copy of a model, fine-tuned on the training part at a learning rate; the arguments are as in `fine_tune`."""
    from transformers import get_linear_schedule_with_warmup

    device = model.module.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(seed)
        tuned = reading.make(model, data.names).to(device).train()
        parameters = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=_DECAY)
        schedule = get_linear_schedule_with_warmup(optimizer, round(_WARMUP * data.steps), data.steps)
        labels = torch.from_numpy(data.labels).to(device)
        for epoch in range(_EPOCHS):
            order = data.train[permute(np.arange(len(data.train)), len(data.train), derive_seed("order", seed, epoch))]
            for start in range(0, len(order), _BATCH):
                which = order[start : start + _BATCH]
                tuned.loss(data.texts, which, labels[which]).backward()
                torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                advance(1)
    return tuned.eval()


@torch.no_grad()
def correct_labels(tuned: LabelModel, data: LabelledData, which: np.ndarray, batch_tokens: int) -> np.ndarray:
    """1 for each of the texts number `which` whose label has the best score, `(texts,)`."""
    found = np.empty(len(data.labels), dtype=np.int64)
    for batch in data.texts.batches(which, batch_tokens):
        found[batch] = tuned.scores(data.texts, batch).argmax(1).cpu().numpy()
    return (found[which] == data.labels[which]).astype(np.float32)
