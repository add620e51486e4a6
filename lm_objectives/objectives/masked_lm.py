"""Masked-token prediction."""

from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.span_lengths import SpanLengths
from lm_objectives.corruptions.windows import Frame
from lm_objectives.corruptions.word_units import Unit
from lm_objectives.errors import InputError
from lm_objectives.objectives.base import LossOutput
from lm_objectives.objectives.language_model import TokenObjective, check_regularization
from lm_objectives.objectives.losses import gather_positions
from lm_objectives.schedules import Schedulable
from lm_objectives.views import View, Vocabulary

if TYPE_CHECKING:
    from lm_objectives.backbone.backbone import Backbone


class MaskedLM(TokenObjective):
    """Each masked token from both sides: L = −Σ ln p(x_t | corrupted x), in nats per masked token.

    BERT (Devlin et al. 2019, section 3.1) with masks drawn anew for each epoch of the rows, as RoBERTa does (Liu et
    al. 2019, section 4.1). The head is BERT's: dense, activation, layer norm, then the tied embedding and a bias. With
    `predict_from="previous"` it is masked next-token prediction (Charpentier and Samuel 2024, section 2), whose head
    is the causal one, the tied embedding alone.

    ALBERT masks n-grams of words (`unit: word`, `lengths: NGram`; Lan et al. 2020, section 4.1), SpanBERT runs of words
    (`unit: word`, `lengths: Geometric`; Joshi et al. 2020, section 3.1). Held-out rows are always
    masked at 15 %, tokens singly.

    Args:
        mask_rate: share of a row's units that are scored, in (0, 1), or points [[when, rate], ...] that it follows
            linearly. `when` is an optimizer step or, with a point, a fraction of the training.
        mask_share: share of those that become the mask token, in [0, 1].
        random_share: share of those that become a random token; the rest stay.
        predict_from: the position whose hidden state predicts a masked token.
        unit: whether tokens are masked, or whole words.
        lengths: of the runs of units that are masked together: Geometric, Poisson, Uniform or NGram; single units where
            it is left out.
        label_smoothing: as in CausalLM.
        z_loss: as in CausalLM; GPT-BERT's is 0.0001.
        frame: what stands around the text of each row, never masked: bos as RoBERTa's and GPT-BERT's code has it,
            bos-eos, or none.
    """

    corruption: TokenMasking

    def __init__(
        self,
        mask_rate: Schedulable = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        predict_from: Literal["same", "previous"] = "same",
        unit: Unit = "token",
        lengths: SpanLengths | None = None,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        frame: Frame = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_regularization(label_smoothing, z_loss)
        self.label_smoothing, self.z_loss = label_smoothing, z_loss
        self.corruption = TokenMasking(mask_rate, mask_share, random_share, predict_from, unit, lengths, frame)

    def setup(self, backbone: "Backbone", vocabulary: Vocabulary) -> None:
        super().setup(backbone, vocabulary)
        self.transform = self.bias = None
        self.scale = backbone.embedding_scale
        width = backbone.embedding.shape[1]
        if self.corruption.predict_from == "same":
            self.transform = backbone.head_transform(width)
            self.bias = nn.Parameter(torch.zeros(vocabulary.size))
        elif width != backbone.dim:
            raise InputError(
                "expected an embedding as wide as the hidden states for predict_from previous, found "
                f"{width} and {backbone.dim}: set embedding_size to {backbone.dim} in model.backbone.config"
            )

    def compute_loss(
        self, hidden: Float[Tensor, "rows time dim"], view: View, embedding: Float[Tensor, "vocab width"]
    ) -> LossOutput:
        states = gather_positions(hidden, view.label_positions)
        if self.transform is not None:
            states = self.transform(states)
        elif self.scale != 1:
            states = self.scale * states
        return self.token_loss(states, embedding, view.targets, self.bias)

    def logits(
        self, hidden: Float[Tensor, "*shape dim"], embedding: Float[Tensor, "vocab width"]
    ) -> Float[Tensor, "*shape vocab"]:
        """Of each token, from hidden states."""
        states = self.scale * hidden if self.transform is None else self.transform(hidden)
        return F.linear(states, embedding, self.bias)
