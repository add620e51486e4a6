"""The base class of pretraining objectives: a corruption, which makes input and labels, and a head with its loss."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import expect
from lm_objectives.objectives.hf_heads import load_weights
from lm_objectives.objectives.metrics import ConstantAccuracy, ConstantNats
from lm_objectives.plugin import Plugin
from lm_objectives.ranges import is_within
from lm_objectives.schedules import Schedulable, check_points
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone
    from lm_objectives.backbone.pretrained import PretrainedWeights

_log = logging.getLogger("lm_objectives")

BaselineNames = dict[str, tuple[str | tuple[str, float], ...]]
"""For each metric, the names of other metrics, or a name and a constant value."""


@dataclass(frozen=True)
class LossOutput:
    """The losses of a view.

    Attributes:
        loss_sums: nats summed over the scored positions, for each part of the loss. Never a mean: the module divides by
            the whole step's counts.
        metric_inputs: arguments for the `update` of the metrics of the same name; only filled outside training.
    """

    loss_sums: dict[str, Float[Tensor, ""]]
    metric_inputs: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)


def initialize(backbone: "Backbone", *layers: nn.Linear | None) -> None:
    """Draw the weights of a head's fresh layers as the backbone's family draws its own; biases are 0."""
    for layer in layers:
        if layer is not None:
            nn.init.normal_(layer.weight, std=backbone.initializer_range)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def combine_losses(
    parts: Mapping[str, float], sums: Mapping[str, Tensor], totals: Mapping[str, int | Tensor]
) -> Tensor:
    """Sum over parts of factor × sum / count, in nats per scored position; a part that scores nothing adds nothing.

    Args:
        parts: factor of each part.
        sums: nats over some scored positions.
        totals: how many scored positions the whole step has.
    """
    terms = []
    for part, factor in parts.items():
        count = totals[part]
        expected = f"a sum of nats without dimensions for the part {part}"
        mend = "return sums from compute_loss"
        expect(not sums[part].ndim, expected, f"one of shape {tuple(sums[part].shape)}", mend)
        terms.append(factor * sums[part] / (count.clamp_min(1) if isinstance(count, Tensor) else max(count, 1)))
    return torch.stack(terms).sum()


def baseline_metrics(objective: "Objective") -> dict[str, Metric]:
    """An objective's baselines that its `baseline_names` name, but for those that it measures among its metrics."""
    named = {name for names in objective.baseline_names.values() for name in names} - {*objective.metrics()}
    return {name: metric for name, metric in objective.baselines().items() if name in named}


def _check_moving_share(share: float) -> None:
    expect(is_within(share, 0), "shares of at least 0", share, "0 leaves an objective out for a while")


class Objective(Plugin, nn.Module, ABC):
    """A pretraining task: a corruption, which makes its views from text, and a head with a loss on hidden states.

    Most are a `LanguageModelObjective` or a `ClassificationObjective`. An objective never calls the backbone and never
    decides its weight among the others.

    >>> import torch.nn.functional as F
    >>> from torch import nn
    >>> from lm_objectives import LossOutput, NextToken, Objective
    >>> class NextEmbedding(Objective):
    ...     "The next token's embedding from each hidden state, by squared error."
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.corruption = NextToken()
    ...     def setup(self, backbone, vocabulary):
    ...         self.project = nn.Linear(backbone.dim, backbone.embedding.shape[1])
    ...     def initial_loss(self):
    ...         return 1.0
    ...     def compute_loss(self, hidden, view, embedding):
    ...         predicted = self.project(hidden.flatten(0, 1)[view.label_positions])
    ...         return LossOutput({"loss": F.mse_loss(predicted, embedding[view.targets].detach(), reduction="sum")})
    >>> NextEmbedding(share=2.0).share
    2.0

    Args:
        share: its part of the rows of a step, relative to the others' shares, above 0; or points [[when, share], ...]
            that it follows linearly, where 0 leaves it out. `when` is an optimizer step or, with a point, a fraction of
            the training.
        shares_rows_with: name of another objective on whose rows this one's corruption is applied, instead of rows of
            its own; the backbone then runs once for both.
    """

    corruption: Corruption
    """Makes its views; set in the constructor."""

    loss_weights: ClassVar[dict[str, float]] = {"loss": 1.0}
    """Parts of the loss and the factor of each: the loss is the sum of factor x sum of nats / count."""

    baseline_names: ClassVar[BaselineNames] = {"loss": ("base_rate",), "accuracy": ("majority",)}
    """For a metric, the baselines that are printed next to it: what a constant prediction reaches."""

    target_counts: Int[Tensor, " targets"] | None = None
    """How often each of the views' targets is right in training rows that are made as held-out ones are; set before
    `setup`, and `None` where no rows are at hand, or the targets are no numbers of classes."""

    output_layers: ClassVar[tuple[str, ...]] = ("classifier",)
    """Names of its own layers or parameters that give the logits; their value may be `None`.

    Muon leaves their weights to AdamW, as it does with embeddings (see `optim.parameter_groups`). Maps onto the whole
    vocabulary are found without being named.
    """

    def __init__(self, share: Schedulable = 1.0, shares_rows_with: str | None = None) -> None:
        super().__init__()
        if not isinstance(share, (int, float)):
            check_points(share, _check_moving_share, "share")
        else:
            mend = "leave an objective out to give it no rows"
            expect(is_within(share, 0) and share > 0, "a share above 0", share, mend)
        self.share, self.shares_rows_with = share, shares_rows_with

    @abstractmethod
    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        """Make the head. It may plan to tie the embedding, but never registers it."""

    @abstractmethod
    def initial_loss(self) -> float:
        """The theoretical loss in nats of a model that knows nothing: ln V for a token, ln 2 for a coin."""

    @abstractmethod
    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        """Sums of nats over the scored positions of `view` (as `fill_in` returned it), from its hidden states."""

    def fill_in(self, view: View, embeddings: Mapping[str, Tensor]) -> View:
        """The view that the backbone reads, where a model takes part in making it, as ELECTRA's generator does.

        Args:
            view: as the corruption made it.
            embeddings: the parameters of the backbone's embedding layer by name (see `Backbone.embedding_parameters`).
        """
        del embeddings
        return view

    def metrics(self) -> dict[str, Metric]:
        """Metrics besides the loss, by name, for held-out rows."""
        return {}

    def baselines(self) -> dict[str, Metric]:
        """Metrics of constant predictions, by name, each of which is updated with the targets of held-out views.

        By default those of a loss -ln p(target): `base_rate`, the nats of always answering with the frequencies of
        training targets, and `majority`, the accuracy of always giving their commonest. Those that no entry of
        `baseline_names` names are not measured.
        """
        if self.target_counts is None or dict(self.loss_weights) != {"loss": 1.0}:
            return {}
        return {"base_rate": ConstantNats(self.target_counts), "majority": ConstantAccuracy(self.target_counts)}

    def hf_names(self, family: str) -> dict[str, str]:
        """Names of its parameters, or of modules that hold some, to their names in a class of transformers.

        Args:
            family: the backbone's model type, such as `bert`; empty where that has no such head.
        """
        del family
        return {}

    def load_pretrained(self, backbone: "Backbone", found: "PretrainedWeights") -> dict[str, bool]:
        """Copy the weights that a folder of transformers has for the head, where it has all of them.

        Returns:
            Whether it has, by the part of the objective; its head is the part named "".

        Raises:
            InputError: where a head has another size there.
        """
        return {"": load_weights(self, self.hf_names(backbone.config.model_type), found)}


def load_pretrained_heads(backbone: "Backbone", objectives: Mapping[str, Objective]) -> None:
    """Give fresh heads the weights that a `pretrained` backbone's folder has for them, and log which it lacks.

    Raises:
        InputError: where a head has another size there, or a bias, a scale or a cap on its logits that ours has not.
    """
    found = backbone.pretrained_weights
    assert found is not None
    held = {
        name + part: has
        for name, objective in objectives.items()
        for part, has in objective.load_pretrained(backbone, found).items()
    }
    backbone.heads_found, backbone.pretrained_weights = held, None  # heads that nobody asked for take memory
    started, fresh = (", ".join(name for name in held if held[name] is there) for there in (True, False))
    _log.info("%s: begins with %s%s", found.folder, started or "no head", f"; fresh: {fresh}" if fresh else "")
