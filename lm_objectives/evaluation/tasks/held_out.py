"""How well each head predicts a run's own held-out documents, and how well it knows what it knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.data.preparation.progress import progress_bar
from lm_objectives.evaluation.readings.base import Reading, TokenReading
from lm_objectives.evaluation.results import Result
from lm_objectives.evaluation.scorer import autocast, expect_finite
from lm_objectives.evaluation.tasks.base import Session, Task
from lm_objectives.evaluation.tasks.errors_of_means import batch_error, row_error
from lm_objectives.evaluation.tasks.sentences import held_out_text
from lm_objectives.objectives.losses import TokenHead, logits_in_chunks
from lm_objectives.objectives.metrics import token_baselines
from lm_objectives.training.validation import ValidationMetrics
from lm_objectives.views import View

_BINS = 15
_TEMPERED = 8192  # scored positions that a temperature is found on, at most


class HeldOut(Task):
    """Held-out rows of each reading, made by its objective's own held-out corruption, the same for every model.

    Of a reading that predicts tokens: `nats` for each scored token, `accuracy`, `bits_per_byte` of the text, `entropy`
    of the predictions in nats, their `calibration_error` (Guo et al. 2017, section 2: 15 bins of confidence), and the
    `temperature` by which logits had to be divided for the least nats. The temperature is found on every other row,
    and the calibration error is that of the rest; no other number uses it. Of other readings: their objective's loss
    and metrics.
    """

    name = "held_out"

    def run(self, session: Session) -> list[Result]:
        results: list[Result] = []
        for name, reading in session.readings.items():
            if reading.held_out == "tokens":
                assert isinstance(reading, TokenReading)
                results += self._of_tokens(session, name, reading)
            elif reading.held_out == "metrics":
                results += self._of_objective(session, name, reading)
        return results

    def _of_tokens(self, session: Session, name: str, reading: TokenReading) -> list[Result]:
        module = session.model.module
        made: list[Predictions] = []
        states: list[Tensor] = []
        targets: list[Tensor] = []
        weight = bias = None
        rows = 0
        for view in self._views(session, name, reading):
            with torch.inference_mode(), autocast(module.device, session.precision):
                found, weight, bias = reading.head(module, view)
            time = view.input_ids.shape[1] if view.decoder_labels is None else view.decoder_labels.shape[1]
            row = view.label_positions // time + rows
            rows += len(view.input_ids)
            made.append(predict((found, weight, bias), view.targets, row))
            states.append(found[row % 2 == 0] if sum(map(len, states)) < _TEMPERED else found[:0])
            targets.append(view.targets)
        assert weight is not None and session.model.cache is not None
        of, every = Predictions.join(made), torch.cat(targets)
        expect_finite(of.nats, name, self.name)
        nats, odd, even = float(of.nats.mean()), of.row % 2 == 1, every[torch.from_numpy(of.row % 2 == 0)]
        unigram, commonest = constant_predictions(reading.objective.target_counts, every.cpu(), len(weight))
        error = row_error(of.nats, of.row)
        values: dict[str, Measured] = {
            "nats": (nats, error, unigram, len(of.nats)),
            "accuracy": (float(of.correct.mean()), row_error(of.correct, of.row), commonest, len(of.nats)),
            "entropy": (float(of.entropy.mean()), row_error(of.entropy, of.row), None, len(of.nats)),
        }
        if reading.predicts_text:
            to_bits = session.model.cache.bits_per_byte
            bits = None if error is None else to_bits(error)
            values["bits_per_byte"] = to_bits(nats), bits, to_bits(unigram), len(of.nats)
        if odd.any():
            tempered = torch.cat(states)[:_TEMPERED]
            temperature = find_temperature((tempered, weight, bias), even[: len(tempered)])
            gap = calibration_error(of.confidence[odd], of.correct[odd])
            values["calibration_error"] = gap, None, None, int(odd.sum())
            values["temperature"] = temperature, None, None, len(tempered)
        return [
            Result(self.name, name, metric, value, n, se, chance) for metric, (value, se, chance, n) in values.items()
        ]

    def _of_objective(self, session: Session, name: str, reading: Reading) -> list[Result]:
        module, objective = session.model.module, reading.objective
        metrics = ValidationMetrics({name: objective}).to(module.device)
        keep_alone(metrics)
        part = next(part for part in objective.loss_weights if part not in reading.read_elsewhere)
        sums: dict[str, list[tuple[float, int]]] = {}  # of each batch, and what they are over
        for view in self._views(session, name, reading):
            with torch.inference_mode(), autocast(module.device, session.precision):
                filled = objective.fill_in(view, module.backbone.embedding_parameters())
                [hidden] = module.backbone.encode([filled])
                output = objective.compute_loss(hidden, filled, module.backbone.embedding)
            metrics.update({name: view}, {name: output})
            sums.setdefault(part, []).append((float(output.loss_sums[part]), view.counts[part]))
            if "accuracy" in output.metric_inputs:
                right = output.metric_inputs["accuracy"][0]
                sums.setdefault("accuracy", []).append((float(right.sum()), len(right)))
        expect_finite(np.array([total for total, _ in sums[part]]), name, self.name)
        values = metrics.compute(lambda found: found)
        results = []
        for metric, baselines in objective.baseline_names.items():
            if metric not in reading.read_elsewhere:
                known = [b[1] if isinstance(b, tuple) else values.get(f"val/{name}/{b}") for b in baselines]
                chance = next((value for value in known if value is not None), None)
                value, own = values[f"val/{name}/{metric}"], sums.get(metric)
                error, n = (None if own is None else batch_error(own)), sum(count for _, count in sums[part])
                results.append(Result(self.name, name, "nats" if metric == part else metric, value, n, error, chance))
        return results

    def _views(self, session: Session, name: str, reading: Reading) -> Iterator[View]:
        """The reading's held-out views, on the model's device."""
        model = session.model
        text, module = held_out_text(model, self.name), model.module
        source = ObjectiveRows(reading.objective.corruption.at_step(module.steps, module.steps).for_validation())
        packing, key = module.backbone.supports_packing, name.split(":")[0]
        settings = RowSettings(model.seq_len, session.seed, packing)
        dataset = RowDataset(text, {key: source}, model.vocabulary, settings, "validation")
        rows = min(len(dataset), session.items or len(dataset))
        size = max(session.batch_tokens // model.seq_len, 1)
        with progress_bar(f"{self.name} read as {name}", "rows", rows) as advance:
            for first in range(0, rows, size):
                keys = [RowKey(key, number) for number in range(first, min(first + size, rows))]
                yield dataset.__getitems__(keys).views[key].to(module.device)
                advance(len(keys))


Measured = tuple[float, float | None, float | None, int]
"""A value, its standard error, what knowing nothing gives, and how many positions it is over."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a head says of each scored position; `(scored,)` each.

    Attributes:
        nats: -ln p of the target.
        correct: 1 where the likeliest token is the target.
        entropy: of the prediction, in nats.
        confidence: the likeliest token's probability.
        row: number of the row that it is in.
    """

    nats: np.ndarray
    correct: np.ndarray
    entropy: np.ndarray
    confidence: np.ndarray
    row: np.ndarray

    @staticmethod
    def join(parts: Sequence["Predictions"]) -> "Predictions":
        """All of several."""
        return Predictions(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Predictions)))


@torch.no_grad()
def predict(head: TokenHead, targets: Int[Tensor, " scored"], row: Int[Tensor, " scored"]) -> Predictions:
    """What a head says of scored positions, from single precision at least."""
    parts: list[Predictions] = []
    start = 0
    for logits, target in logits_in_chunks(head, targets):
        log_probs = logits.log_softmax(dim=1)
        best, token = log_probs.max(dim=1)
        found = (
            -log_probs.gather(1, target[:, None]).squeeze(1),
            (token == target).float(),
            -(log_probs.exp() * log_probs).sum(dim=1),
            best.exp(),
            row[start : start + len(target)],
        )
        start += len(target)
        parts.append(Predictions(*(values.cpu().double().numpy() for values in found)))
    return Predictions.join(parts)


def keep_alone(metrics: nn.Module) -> None:
    """Let metrics be computed over what this process has seen: in a training of several, the others take no part."""
    for part in metrics.modules():
        if isinstance(part, Metric):
            part.distributed_available_fn = lambda: False


def constant_predictions(
    counts: Int[Tensor, " targets"] | None, targets: Int[Tensor, " scored"], vocab: int
) -> tuple[float, float | None]:
    """Nats and accuracy of always answering with the training targets' frequencies, or of all tokens alike.

    >>> import torch
    >>> constant_predictions(None, torch.tensor([1, 2]), 2)  # ln 2
    (0.6931471824645996, None)
    """
    metrics = token_baselines(counts, vocab)
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        keep_alone(metric)
        metric.update(targets)
        found[name] = float(metric.compute())
    return found.get("unigram", found["uniform"]), found.get("commonest")


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: over bins of confidence, the mean distance of accuracy from confidence.

    >>> import numpy as np
    >>> calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([1.0, 1.0, 1.0, 0.0]))  # .75 right, .9 sure
    0.15

    Args:
        confidence: in (0, 1], `(predictions,)`.
        correct: 1 where the prediction is right.
    """
    which = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(which, weights=correct - confidence, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / max(len(confidence), 1)), 12)


def find_temperature(head: TokenHead, targets: Int[Tensor, " scored"]) -> float:
    """The temperature T of the least nats of the targets under softmax(logits / T) (Guo et al. 2017, section 4.2).

    The nats are convex in 1 / T.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0]]).expand(4, 2)
    >>> round(find_temperature((logits, torch.eye(2), None), torch.tensor([0, 0, 0, 1])), 3)  # 2 / ln 3
    1.82
    """
    states, weight, bias = head
    head = states.clone(), weight.detach(), None if bias is None else bias.detach()
    scale = torch.ones((), device=states.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], line_search_fn="strong_wolfe", max_iter=30, tolerance_change=1e-7)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = states.new_zeros(())
        for logits, target in logits_in_chunks(head, targets):
            nats = F.cross_entropy(scale * logits, target, reduction="sum") / len(targets)
            nats.backward()
            total += nats.detach()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    return 1 / float(scale.detach())
