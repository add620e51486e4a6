"""The base class of objectives that predict tokens: a head over the vocabulary, its loss, metrics and baselines."""

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

from lm_objectives.backbone.config import is_decoder
from lm_objectives.backbone.equal_logits import equal_logits
from lm_objectives.corruptions.base import Corruption, check_attention
from lm_objectives.errors import expect
from lm_objectives.objectives.base import BaselineNames, LossOutput, Objective, initialize
from lm_objectives.objectives.losses import TokenHead, correct_predictions, linear_cross_entropy_sum
from lm_objectives.objectives.metrics import Mean, token_baselines
from lm_objectives.ranges import is_within
from lm_objectives.views import View, Vocabulary, gather_positions

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone
    from lm_objectives.backbone.pretrained import PretrainedWeights


class LanguageModelObjective(Objective):
    """Predicts the tokens that a corruption asks for: L = −Σ ln p(x_t | corrupted x), in nats per scored token.

    The head is the family's own: the token embedding, or a linear map where its configuration does not tie it, after
    the scale that T5 has. Another one overrides `head`, from which loss, logits and exported models are made. The loss
    never holds the logits of all positions at once.

    Training minimises and logs the loss with label smoothing and z-loss; held-out losses and perplexity are without
    them, and compare whatever a run trains with.

    >>> from lm_objectives import Backbone, LanguageModelObjective, NextToken, Vocabulary
    >>> vocabulary = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3))
    >>> backbone = Backbone("gpt2", {"n_layer": 1, "n_head": 2, "n_embd": 8})
    >>> backbone.setup(vocabulary, seq_len=4)
    >>> objective = LanguageModelObjective(NextToken())
    >>> objective.setup(backbone, vocabulary)
    >>> round(objective.initial_loss(), 3)  # ln 16
    2.773
    >>> objective.logits(backbone.embedding[:3], backbone.embedding).shape
    torch.Size([3, 16])

    Args:
        corruption: makes its views; the targets are tokens.
        label_smoothing: ε in [0, 1), part of the target's probability that all tokens share (Szegedy et al. 2016,
            section 7); 0.1 is usual.
        z_loss: c of at least 0, of the term c · (ln Z)² for each predicted token, Z the sum of exp of its logits
            (Chowdhery et al. 2022, section 5); PaLM's is 0.0001.
    """

    baseline_names: ClassVar[BaselineNames] = {
        "loss": ("uniform", "unigram"),
        "perplexity": ("unigram_perplexity",),
        "accuracy": ("commonest",),
    }
    output_layers: ClassVar[tuple[str, ...]] = ("lm_head",)

    lm_head: nn.Linear | None
    """The linear map onto the vocabulary, `None` where the token embedding is the head."""

    def __init__(
        self, corruption: Corruption, label_smoothing: float = 0.0, z_loss: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        mend = "0.1 is usual, 0 turns it off"
        expect(
            is_within(label_smoothing, 0) and label_smoothing < 1,
            "label_smoothing of at least 0 and below 1",
            label_smoothing,
            mend,
        )
        expect(is_within(z_loss, 0), "a z_loss of at least 0", z_loss, "0.0001 is PaLM's, 0 turns it off")
        self.corruption, self.label_smoothing, self.z_loss = corruption, label_smoothing, z_loss

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        self.vocabulary_size, self.scale = vocabulary.size, backbone.head_scale
        self.lm_head = None if backbone.tied else nn.Linear(backbone.dim, len(backbone.embedding), bias=False)
        initialize(backbone, self.lm_head)

    def initial_loss(self) -> float:
        """That of logits which are all 0: ln V, and c · (ln V)² of the z-loss; smoothing adds nothing."""
        nats = math.log(self.vocabulary_size)
        return nats + self.z_loss * nats**2

    def head(self, hidden: Float[Tensor, "*shape dim"], embedding: Float[Tensor, "vocab width"]) -> TokenHead:
        """What the logits of hidden states are made from."""
        return scaled(hidden, self.scale), embedding if self.lm_head is None else self.lm_head.weight, None

    def logits(
        self, hidden: Float[Tensor, "*shape dim"], embedding: Float[Tensor, "vocab width"]
    ) -> Float[Tensor, "*shape vocab"]:
        """Logits of all tokens from hidden states."""
        return F.linear(*self.head(hidden, embedding))

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        check_attention(view, self.corruption)
        head = self.head(gather_positions(hidden, view.label_positions), embedding)
        if self.training:
            return LossOutput({"loss": linear_cross_entropy_sum(head, view.targets, self.label_smoothing, self.z_loss)})
        nats = linear_cross_entropy_sum(head, view.targets)
        count = torch.full_like(nats, len(view.targets))
        accuracy = (correct_predictions(head, view.targets),)
        return LossOutput({"loss": nats}, {"perplexity": (nats / count.clamp_min(1), count), "accuracy": accuracy})

    def metrics(self) -> dict[str, Metric]:
        return {"perplexity": Perplexity(), "accuracy": Mean()}

    def baselines(self) -> dict[str, Metric]:
        """`uniform` and `unigram` in nats, `unigram_perplexity`, and `commonest`, the share of the commonest target."""
        return token_baselines(self.target_counts, self.vocabulary_size)

    def hf_names(self, family: str) -> dict[str, str]:
        del family
        return {"lm_head": "lm_head"}

    def load_pretrained(self, backbone: "Backbone", found: "PretrainedWeights") -> dict[str, bool]:
        """As in `Objective`; also raises where the folder's class has other logits: biased, scaled or capped ones."""
        held, decodes = super().load_pretrained(backbone, found), self.corruption.uses_decoder
        predicts = decodes or is_decoder(backbone.config.model_type)
        if held[""] and predicts and found.whole.get_output_embeddings() is not None:
            found.whole.eval()
            ours = {"logits": lambda hidden: self.logits(hidden, backbone.embedding)}
            equal = equal_logits(backbone, "bidirectional" if decodes else "causal", decodes, found.whole, ours)
            found.whole.train()
            expect(
                equal,
                f"a head in {found.folder} that is a linear map alone",
                f"that of a {type(found.whole).__name__}, with other logits (a bias, a scale or a cap)",
                "write its bare model, an AutoModel, and start from that",
            )
        return held


def scaled(states: Tensor, scale: float) -> Tensor:
    """States times a factor that mostly is 1."""
    return states if scale == 1 else scale * states


class Perplexity(Mean):
    """exp of the mean of nats per scored position."""

    def compute(self) -> Tensor:
        return super().compute().exp()
