"""Pretraining objectives, one file each."""

from lm_objectives.objectives.base import BaselineNames, LossOutput, Objective
from lm_objectives.objectives.causal_lm import CausalLM
from lm_objectives.objectives.masked_lm import MaskedLM
from lm_objectives.objectives.next_sentence import NextSentence
from lm_objectives.objectives.prefix_lm import PrefixLM
from lm_objectives.objectives.replaced_token import ReplacedToken
from lm_objectives.objectives.sentence_order import SentenceOrder
from lm_objectives.objectives.span_denoising import SpanDenoising
from lm_objectives.objectives.text_denoising import TextDenoising

__all__ = [
    "BaselineNames",
    "CausalLM",
    "LossOutput",
    "MaskedLM",
    "NextSentence",
    "Objective",
    "PrefixLM",
    "ReplacedToken",
    "SentenceOrder",
    "SpanDenoising",
    "TextDenoising",
]
