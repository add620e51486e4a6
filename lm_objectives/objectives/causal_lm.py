"""Next-token prediction."""

from typing import Any

from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.windows import Frame
from lm_objectives.objectives.language_model import LanguageModelObjective


class CausalLM(LanguageModelObjective):
    """Each token from those before it: L = −Σ ln p(x_t | x_<t), in nats per predicted token.

    GPT (Radford et al. 2018, section 3.1); Llama. The head is linear, tied to the embedding where the backbone's
    configuration ties it, as the family's own causal head does, and the embedding is as wide as the hidden states.

    Args:
        label_smoothing: as in LanguageModelObjective.
        z_loss: as in LanguageModelObjective.
        frame: whether each row begins with bos, also where it begins within a document: none as GPT and Llama train,
            bos as GPT-BERT does.
    """

    def __init__(self, label_smoothing: float = 0.0, z_loss: float = 0.0, frame: Frame = "none", **kwargs: Any) -> None:
        super().__init__(corruption=NextToken(frame), label_smoothing=label_smoothing, z_loss=z_loss, **kwargs)
