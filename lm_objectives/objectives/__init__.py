"""Pretraining objectives, one file each."""

from lm_objectives.objectives.base import BaselineNames as BaselineNames
from lm_objectives.objectives.base import LossOutput as LossOutput
from lm_objectives.objectives.base import Objective as Objective
from lm_objectives.objectives.causal_lm import CausalLM as CausalLM
from lm_objectives.objectives.classification import ClassificationObjective as ClassificationObjective
from lm_objectives.objectives.language_model import LanguageModelObjective as LanguageModelObjective
from lm_objectives.objectives.masked_lm import MaskedLM as MaskedLM
from lm_objectives.objectives.next_sentence import NextSentence as NextSentence
from lm_objectives.objectives.prefix_lm import PrefixLM as PrefixLM
from lm_objectives.objectives.replaced_token import ReplacedToken as ReplacedToken
from lm_objectives.objectives.sentence_order import SentenceOrder as SentenceOrder
from lm_objectives.objectives.span_denoising import SpanDenoising as SpanDenoising
from lm_objectives.objectives.text_denoising import TextDenoising as TextDenoising
