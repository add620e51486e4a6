"""Replaced-token detection."""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import BinaryAUROC, BinaryF1Score

from lm_objectives.backbone.pretrained import read_config, read_folder
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.windows import Frame
from lm_objectives.errors import expect
from lm_objectives.objectives.base import BaselineNames, LossOutput, Objective, initialize
from lm_objectives.objectives.hf_heads import load_weights
from lm_objectives.objectives.losses import TokenHead, linear_cross_entropy_sum, sample_tokens
from lm_objectives.objectives.masked_lm import HF_MASKED_HEADS
from lm_objectives.objectives.metrics import ConstantNats, Mean, over_vocabulary, token_baselines
from lm_objectives.ranges import is_within
from lm_objectives.schedules import Schedulable
from lm_objectives.views import View, Vocabulary, gather_positions

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone
    from lm_objectives.backbone.pretrained import PretrainedWeights

_log = logging.getLogger("lm_objectives")


class ReplacedToken(Objective):
    """Which tokens a small generator replaced: L = L_generator + λ · L_discriminator.

    ELECTRA (Clark et al. 2020, section 2). The generator, a narrower model of the backbone's family, learns masked
    tokens; its samples, drawn at temperature 1 and without gradient, replace them; the backbone tells for every token
    that is not padding whether it is the original. A sample that happens to be the original counts as original.
    Generator: nats per masked token. Discriminator: nats per token.

    The generator reads and predicts by the backbone's embeddings (section 3.2): of tokens, positions and segments where
    the family has an embedding layer of a width of its own, as ELECTRA has; elsewhere of tokens, through a projection.

    Args:
        mask_rate: share of a row's tokens that the generator replaces, in (0, 1), or points [[when, rate], ...] that it
            follows linearly over the training.
        mask_share: share of those that become the mask token in the generator's input; the rest stay.
        generator: width of the generator as a share of the backbone's, in (0, 1]; 1/4 for ELECTRA
            small and large, 1/3 for base.
        discriminator_factor: λ, at least 0; 50 as published, smaller for small models.
        frame: special tokens around the text of each row, never replaced: bos-eos is ELECTRA's.
    """

    baseline_names: ClassVar[BaselineNames] = {
        "discriminator": ("base_rate",),
        "accuracy": ("always_original",),
        "auc": (("constant", 0.5),),
        "f1": ("always_replaced",),
        "generator": ("uniform", "unigram"),
        "loss": ("constant",),
    }

    def __init__(
        self,
        mask_rate: Schedulable = 0.15,
        mask_share: float = 0.85,
        generator: float = 0.25,
        discriminator_factor: float = 50.0,
        frame: Frame = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        expect(0 < generator <= 1, "a generator width above 0 and at most 1", generator, "ELECTRA's is 0.25")
        expected = "a discriminator_factor of at least 0"
        expect(is_within(discriminator_factor, 0), expected, discriminator_factor, "50 is ELECTRA's")
        self.corruption = TokenReplacement(mask_rate, mask_share, frame)
        self.generator_width = generator
        self.loss_weights = {"generator": 1.0, "discriminator": discriminator_factor}  # type: ignore[misc]

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size = vocabulary.size
        self.generator = backbone.scaled_width(self.generator_width)
        reads = backbone.embedding.shape[1]
        self.embedding_name = backbone.embedding_name
        self.project_in = None if backbone.factorized else nn.Linear(reads, self.generator.dim)
        self.transform = self.generator.head_transform(reads)
        self.bias = nn.Parameter(torch.zeros(vocabulary.size))
        self.dense = nn.Linear(backbone.dim, backbone.dim)
        self.activation = backbone.discriminator_activation()
        self.classifier = nn.Linear(backbone.dim, 1)
        initialize(backbone, self.project_in, self.dense, self.classifier)

    def initial_loss(self) -> float:
        return math.log(self.vocabulary_size) + self.loss_weights["discriminator"] * math.log(2)

    def fill_in(self, view: View, embeddings: Mapping[str, Tensor]) -> View:
        assert view.sampling_noise is not None
        hidden = gather_positions(self.encode_generator(view, embeddings), view.label_positions)
        head = self.head(hidden, embeddings[self.embedding_name])
        nats = linear_cross_entropy_sum(head, view.targets)
        samples = sample_tokens(head, view.sampling_noise)
        labels, ids = torch.zeros_like(view.input_ids), view.input_ids.clone()
        labels.view(-1)[view.label_positions] = (samples != view.targets).long()
        ids.view(-1)[view.label_positions] = samples
        return replace(view, input_ids=ids, extra={"generator": nats, "labels": labels})

    def encode_generator(self, view: View, embeddings: Mapping[str, Tensor]) -> Float[Tensor, "rows time dim"]:
        """Hidden states of the generator."""
        if self.project_in is None:
            return self.generator.encode([view], dict(embeddings))[0]
        embedded = self.project_in(F.embedding(view.input_ids, embeddings[self.embedding_name]))
        return self.generator.encode([view], embedded=embedded)[0]

    def head(self, hidden: Float[Tensor, "*shape dim"], embedding: Float[Tensor, "vocab width"]) -> TokenHead:
        """What the generator's logits are made from, of its hidden states: BERT's head, as of `MaskedLM`."""
        return self.transform(hidden), embedding, self.bias

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        del embedding
        logits = self.logits(hidden)
        real = torch.arange(hidden.shape[1], device=hidden.device) < view.lengths[:, None]
        labels = view.extra["labels"]
        nats = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        sums = {"generator": view.extra["generator"], "discriminator": (nats * real).sum()}
        if self.training:
            return LossOutput(sums)
        scores, labels = logits[real].sigmoid(), labels[real]
        return LossOutput(
            sums,
            {
                "accuracy": (((scores > 0.5) == labels).float(),),
                "always_original": ((labels == 0).float(),),
                "auc": (scores, labels),
                "f1": (scores, labels),
                "always_replaced": (labels.float(),),
                "base_rate": (labels.float(),),
                "constant": (view.targets, labels),
            },
        )

    def logits(self, hidden: Float[Tensor, "rows time dim"]) -> Float[Tensor, "rows time"]:
        """Log-odds that each token was replaced."""
        logits = self.classifier(self.activation(self.dense(hidden))).squeeze(-1)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def metrics(self) -> dict[str, Metric]:
        """Metrics of the discriminator, with its baselines: its labels come from the generator on held-out rows."""
        tokens = over_vocabulary(self.target_counts, self.vocabulary_size)
        return {
            "accuracy": Mean(),
            "always_original": Mean(),
            "auc": BinaryAUROC(),
            "f1": BinaryF1Score(),
            "always_replaced": AlwaysF1(),
            "base_rate": BinaryEntropy(),
            "constant": ConstantLoss(tokens, self.loss_weights["discriminator"]),
        }

    def baselines(self) -> dict[str, Metric]:
        """Baselines of the generator."""
        return token_baselines(self.target_counts, self.vocabulary_size)

    def hf_names(self, family: str) -> dict[str, str]:
        prefix = "discriminator_predictions."
        return {"dense": f"{prefix}dense", "classifier": f"{prefix}dense_prediction"} if family == "electra" else {}

    def hf_generator_names(self, family: str) -> dict[str, str]:
        """As `hf_names`, of what the generator has besides the backbone's embeddings."""
        return {"generator.model": "electra"} | HF_MASKED_HEADS["electra"] if family == "electra" else {}

    def load_pretrained(self, backbone: "Backbone", found: "PretrainedWeights") -> dict[str, bool]:
        """As in `Objective`; a generator's weights are those of the folder `generator` inside, if there is one."""
        family, folder, held = backbone.config.model_type, found.folder / "generator", False
        if backbone.factorized and (folder / "config.json").is_file():
            own = read_folder(folder, read_config(folder), backbone.vocabulary)
            for name, weight in backbone.embedding_parameters().items():
                if not torch.equal(weight, own.weights[f"{family}.{name}"]):
                    _log.warning("%s: its %s is not the backbone's, by which the generator reads here", folder, name)
            held = load_weights(self, self.hf_generator_names(family), own)
        return super().load_pretrained(backbone, found) | {"'s generator": held}


class BinaryEntropy(Mean):
    """Entropy in nats of a coin with the observed rate: the loss of always answering with that rate."""

    def compute(self) -> Tensor:
        rate = super().compute()
        return -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))


class AlwaysF1(Mean):
    """F1 of always answering yes, 2r / (1 + r) at an observed rate r: the most that a constant reaches."""

    def compute(self) -> Tensor:
        rate = super().compute()
        return 2 * rate / (1 + rate)


class ConstantLoss(ConstantNats):
    """The whole loss of a generator without context and a discriminator that always answers with the observed rate.

    Args:
        counts: how often each token was masked in training rows, `(vocab,)`.
        factor: of the discriminator's part.
    """

    def __init__(self, counts: Int[Tensor, " vocab"], factor: float) -> None:
        super().__init__(counts)
        self.labels, self.factor = BinaryEntropy(), factor

    def update(self, targets: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        """Add masked tokens, and the labels of all tokens."""
        super().update(targets)
        self.labels.update(labels.float())

    def compute(self) -> Tensor:
        return super().compute() + self.factor * self.labels.compute()

    def reset(self) -> None:
        super().reset()
        self.labels.reset()
