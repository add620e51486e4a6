"""Pretraining objectives, one file each."""

from lm_objectives.objectives.base import Objective, LossOutput, BaselineNames
from lm_objectives.objectives.causal import CausalLM
from lm_objectives.objectives.masked import MaskedLM
from lm_objectives.objectives.next_sentence import NextSentence
from lm_objectives.objectives.prefix import PrefixLM
from lm_objectives.objectives.replaced_token import ReplacedToken
from lm_objectives.objectives.sentence_order import SentenceOrder
from lm_objectives.objectives.span_denoising import SpanDenoising
from lm_objectives.objectives.text_denoising import TextDenoising

__all__ = [
    "CausalLM",
    "MaskedLM",
    "NextSentence",
    "Objective",
    "LossOutput",
    "PrefixLM",
    "ReplacedToken",
    "SentenceOrder",
    "SpanDenoising",
    "TextDenoising",
    "BaselineNames",
]
