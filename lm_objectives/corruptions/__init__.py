"""From text to input and labels: a corruption for each objective, as a pure function of each row's key."""

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.causal_lm import NextToken
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.next_sentence import NextSentencePairs
from lm_objectives.corruptions.prefix_lm import PrefixNextToken
from lm_objectives.corruptions.replaced_token import TokenReplacement
from lm_objectives.corruptions.sentence_order import SentenceOrderPairs
from lm_objectives.corruptions.span_denoising import SpanCorruption
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Poisson, SpanLengths, Uniform
from lm_objectives.corruptions.text_denoising import TextInfilling

__all__ = [
    "Corruption",
    "Geometric",
    "NGram",
    "NextSentencePairs",
    "NextToken",
    "Poisson",
    "PrefixNextToken",
    "SentenceOrderPairs",
    "SpanCorruption",
    "SpanLengths",
    "TextInfilling",
    "TokenMasking",
    "TokenReplacement",
    "Uniform",
]
