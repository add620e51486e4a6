"""Next-token prediction."""

from typing import Any

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.windows import Frame
from lm_objectives.objectives.language_model import OwnHead, check_regularization


class CausalLM(OwnHead):
    """Each token from those before it: L = −Σ ln p(x_t | x_<t), in nats per predicted token.

    GPT (Radford et al. 2018, section 3.1); Llama. The head is linear, tied to the embedding where the backbone's
    configuration ties it, as the family's own causal head does, and the embedding is as wide as the hidden states.

    Training minimises and logs the loss with label smoothing and z-loss; held-out losses and perplexity are without
    them, and compare whatever a run trains with.

    Args:
        label_smoothing: ε in [0, 1), part of the target's probability that all tokens share (Szegedy et al. 2016,
            section 7); 0.1 is usual.
        z_loss: c of at least 0, of the term c · (ln Z)² for each predicted token, Z the sum of exp of its logits
            (Chowdhery et al. 2022, section 5); PaLM's is 0.0001.
        frame: whether each row begins with bos, also where it begins within a document: none as GPT and Llama train,
            bos as GPT-BERT does.
    """

    def __init__(self, label_smoothing: float = 0.0, z_loss: float = 0.0, frame: Frame = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_regularization(label_smoothing, z_loss)
        self.label_smoothing, self.z_loss = label_smoothing, z_loss
        self.corruption = NextToken(frame)
