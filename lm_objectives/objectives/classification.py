"""The base class of objectives that predict a class for each token, or for each row, and BERT's head for pairs."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.corruptions.base import Corruption
from lm_objectives.errors import expect
from lm_objectives.objectives.base import LossOutput, Objective, initialize
from lm_objectives.objectives.metrics import Mean
from lm_objectives.ranges import is_within
from lm_objectives.views import View, Vocabulary, gather_positions

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


class ClassificationObjective(Objective):
    """Predicts the class of each labelled position, or of each row: L = −Σ ln p(class), in nats per label.

    The head is linear, on the hidden state of the label's position, which is a row's first where labels are one a row
    (see `Rows.labelled`). A subclass may override `pool`, `logits` and `position_losses`; the base adds the losses up.

    >>> import torch
    >>> from lm_objectives import ClassificationObjective, SentenceOrderPairs
    >>> class FocalOrder(ClassificationObjective):  # Lin et al. 2017
    ...     def __init__(self, **kwargs):
    ...         super().__init__(SentenceOrderPairs(), classes=2, **kwargs)
    ...     def position_losses(self, logits, targets):
    ...         nats = super().position_losses(logits, targets)
    ...         return (1 - (-nats).exp()) ** 2 * nats
    >>> FocalOrder().position_losses(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
    tensor([0.1733, 0.0018])

    Args:
        corruption: makes its views; the targets are classes from 0 on.
        classes: how many there are, at least 2.
    """

    def __init__(self, corruption: Corruption, classes: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        expected = "at least 2 classes, and at most 16777216"
        expect(is_within(classes, 2, 1 << 24), expected, classes, "give as many as the labels have")
        self.corruption, self.classes = corruption, classes

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del vocabulary
        counted = 0 if self.target_counts is None else len(self.target_counts)
        expect(counted <= self.classes, f"targets below {self.classes} classes", counted - 1, "raise classes")
        self.classifier = nn.Linear(backbone.dim, self.classes)
        initialize(backbone, self.classifier)

    def initial_loss(self) -> float:
        return math.log(self.classes)

    def pool(self, hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "labels dim"]:
        """The vector that each label is predicted from: the hidden state at its position."""
        return gather_positions(hidden, view.label_positions)

    def logits(self, pooled: Float[Tensor, "labels dim"]) -> Float[Tensor, "labels classes"]:
        """Logits of the classes."""
        return self.classifier(pooled)

    def position_losses(
        self, logits: Float[Tensor, "labels classes"], targets: Int[Tensor, " labels"]
    ) -> Float[Tensor, " labels"]:
        """The loss of each label, in nats."""
        return F.cross_entropy(logits, targets, reduction="none")

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        del embedding
        logits = self.logits(self.pool(hidden, view))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = self.position_losses(logits, view.targets)
        shape, mend = tuple(losses.shape), 'return one a label, as reduction="none" does'
        expect(shape == view.targets.shape, "a loss for each label from position_losses", f"shape {shape}", mend)
        # The sum in the order of cross_entropy's own, to the last bit.
        total = F.nll_loss(-losses[:, None], torch.zeros_like(view.targets), reduction="sum")
        if self.training:
            return LossOutput({"loss": total})
        return LossOutput({"loss": total}, {"accuracy": ((logits.argmax(dim=1) == view.targets).float(),)})

    def metrics(self) -> dict[str, Metric]:
        """The share of labels that are predicted right."""
        return {"accuracy": Mean()}


class SegmentPairObjective(ClassificationObjective):
    """Predicts one of two classes of a pair of segments by BERT's head: the first token's state through a dense layer
    and tanh, then dropout and the classes.

    Args:
        pooling: what the head reads, one of `poolings`.
    """

    poolings: ClassVar[tuple[str, ...]] = ("first",)

    def __init__(self, corruption: Corruption, pooling: str = "first", **kwargs: Any) -> None:
        super().__init__(corruption, 2, **kwargs)
        known = " or ".join(self.poolings)
        expect(pooling in self.poolings, f"pooling by {known} in {type(self).__name__}", repr(pooling), "correct it")
        self.pooling = pooling

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        del vocabulary
        self.dense, self.classifier = nn.Linear(backbone.dim, backbone.dim), nn.Linear(backbone.dim, self.classes)
        initialize(backbone, self.dense, self.classifier)
        self.dropout = nn.Dropout(0.0)

    def logits(self, pooled: Float[Tensor, "labels dim"]) -> Float[Tensor, "labels classes"]:
        return self.classifier(self.dropout(torch.tanh(self.dense(pooled))))


def segment_difference(hidden: Float[Tensor, "rows time dim"], view: View) -> Float[Tensor, "rows dim"]:
    """The mean state of each row's first segment less that of its second, padding left out."""
    assert view.token_type_ids is not None
    time = torch.arange(hidden.shape[1], device=hidden.device)
    second = view.token_type_ids.to(hidden.dtype)
    first = (time < view.lengths[:, None]).to(hidden.dtype) - second
    shares = first / first.sum(1, keepdim=True) - second / second.sum(1, keepdim=True)
    return torch.einsum("rt,rtd->rd", shares, hidden)
