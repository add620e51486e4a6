"""What objectives that predict tokens share: metrics and yardsticks over the vocabulary."""

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from lm_objectives.corruption.base import Vocabulary
from lm_objectives.objectives.base import Objective, Outcome, Yardsticks
from lm_objectives.objectives.mean import Mean
from lm_objectives.scoring import vocabulary_correct, vocabulary_nats

if TYPE_CHECKING:
    from lm_objectives.backbone import Backbone

YARDSTICKS: Yardsticks = {"loss": ("uniform", "unigram"), "perplexity": (), "accuracy": ("commonest",)}


class TokenObjective(Objective):
    """An objective whose targets are tokens of the vocabulary.

    Attributes:
        label_smoothing, z_loss: of the training loss, as in `CausalLM`.
    """

    unigram: Tensor
    yardsticks: ClassVar[Yardsticks] = YARDSTICKS
    label_smoothing = z_loss = 0.0

    def build(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del backbone
        self.vocabulary_size = vocabulary.size
        self.register_buffer("unigram", unigram_of(vocabulary), persistent=False)

    def initial_loss(self) -> float:
        return uniform_loss(self.vocabulary_size, self.z_loss)

    def metrics(self) -> dict[str, Metric]:
        """Perplexity, accuracy, and what predictors without context reach.

        These are `uniform` and `unigram` in nats, and `commonest`, the share of the commonest token.
        """
        means: dict[str, Metric] = {name: Mean() for name in ("accuracy", "uniform", "unigram", "commonest")}
        return {"perplexity": Perplexity(), **means}

    def outcome(
        self,
        states: Float[Tensor, "scored dim"],
        weight: Float[Tensor, "vocab dim"],
        targets: Int[Tensor, " scored"],
        bias: Float[Tensor, " vocab"] | None = None,
    ) -> Outcome:
        """Nats summed over scored positions, and outside training what the metrics observe.

        Label smoothing and z-loss (see `scoring.vocabulary_nats`) belong to the training alone.
        """
        if self.training:
            extras = self.label_smoothing, self.z_loss
            return Outcome({"loss": vocabulary_nats(states, weight, targets, bias, *extras)})
        sums = {"loss": vocabulary_nats(states, weight, targets, bias)}
        correct = vocabulary_correct(states, weight, targets, bias)
        return Outcome(sums, observe_tokens(sums["loss"], correct, targets, self.unigram))


def check_extras(label_smoothing: float, z_loss: float) -> None:
    """Raise where label smoothing or the z-loss is out of its range."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"expected label_smoothing of at least 0 and below 1, found {label_smoothing}: 0.1 is usual, 0 turns it off"
        )
    if not 0 <= z_loss < math.inf:
        raise ValueError(f"expected a z_loss of at least 0, found {z_loss}: 0.0001 is PaLM's, 0 turns it off")


def uniform_loss(vocab: int, z_loss: float) -> float:
    """Nats of a model whose logits are all 0: ln V, and c · (ln V)² where there is a z-loss; smoothing adds nothing."""
    return math.log(vocab) + z_loss * math.log(vocab) ** 2


class Perplexity(Mean):
    """exp of the mean of nats per scored position."""

    def compute(self) -> Tensor:
        return super().compute().exp()


def unigram_of(vocabulary: Vocabulary) -> Float[Tensor, " vocab"]:
    """Nats of each token under the unigram model, or under the uniform one where there is none."""
    if vocabulary.unigram is None:
        return torch.full((vocabulary.size,), math.log(vocabulary.size))
    return torch.from_numpy(vocabulary.unigram).float()


def observe_tokens(
    nats: Float[Tensor, ""],
    correct: Float[Tensor, " scored"],
    targets: Int[Tensor, " scored"],
    unigram: Float[Tensor, " vocab"],
) -> dict[str, tuple[Tensor, ...]]:
    """Updates for the metrics from the sum of nats, and from what each scored position got and wanted."""
    count = torch.full_like(nats, len(targets))
    return {
        "perplexity": (nats / count.clamp_min(1), count),
        "accuracy": (correct,),
        "uniform": (torch.full_like(correct, math.log(len(unigram))),),
        "unigram": (unigram[targets],),
        "commonest": ((targets == unigram.argmin()).float(),),
    }
