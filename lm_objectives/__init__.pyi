from .backbone.backbone import Backbone as Backbone
from .balancers import (
    FAMO as FAMO,
)
from .balancers import (
    IMTLL as IMTLL,
)
from .balancers import (
    Balancer as Balancer,
)
from .balancers import (
    ByDifficulty as ByDifficulty,
)
from .balancers import (
    Competence as Competence,
)
from .balancers import (
    Curriculum as Curriculum,
)
from .balancers import (
    DynamicWeightAverage as DynamicWeightAverage,
)
from .balancers import (
    Fixed as Fixed,
)
from .balancers import (
    GeometricMean as GeometricMean,
)
from .balancers import (
    GradNorm as GradNorm,
)
from .balancers import (
    PacingFunction as PacingFunction,
)
from .balancers import (
    RandomWeights as RandomWeights,
)
from .balancers import (
    Stages as Stages,
)
from .balancers import (
    StepStatistics as StepStatistics,
)
from .balancers import (
    TorchJD as TorchJD,
)
from .balancers import (
    Uncertainty as Uncertainty,
)
from .callbacks import (
    GradientConflict as GradientConflict,
)
from .callbacks import (
    InitialWeights as InitialWeights,
)
from .cli.compare import compare as compare
from .corruptions.base import Corruption as Corruption
from .corruptions.causal_lm import NextToken as NextToken
from .corruptions.causal_lm import next_token_labels as next_token_labels
from .corruptions.masked_lm import TokenMasking as TokenMasking
from .corruptions.masked_lm import sample_flat_positions as sample_flat_positions
from .corruptions.masked_lm import sample_positions as sample_positions
from .corruptions.next_sentence import NextSentencePairs as NextSentencePairs
from .corruptions.prefix_lm import PrefixNextToken as PrefixNextToken
from .corruptions.replaced_token import TokenReplacement as TokenReplacement
from .corruptions.sentence_order import SentenceOrderPairs as SentenceOrderPairs
from .corruptions.span_denoising import SpanCorruption as SpanCorruption
from .corruptions.span_lengths import Geometric as Geometric
from .corruptions.span_lengths import NGram as NGram
from .corruptions.span_lengths import Poisson as Poisson
from .corruptions.span_lengths import SpanLengths as SpanLengths
from .corruptions.span_lengths import Uniform as Uniform
from .corruptions.text_denoising import TextInfilling as TextInfilling
from .data.datamodule import TextDataModule as TextDataModule
from .demo.show import show as show
from .errors import InputError as InputError
from .evaluation.command import evaluate as evaluate
from .evaluation.readings.base import LanguageModelReading as LanguageModelReading
from .evaluation.readings.base import Reading as Reading
from .evaluation.readings.base import RowReading as RowReading
from .evaluation.readings.base import TextReading as TextReading
from .evaluation.readings.registry import readings_of as readings_of
from .evaluation.results import Evaluation as Evaluation
from .evaluation.results import Result as Result
from .objectives import (
    BaselineNames as BaselineNames,
)
from .objectives import (
    CausalLM as CausalLM,
)
from .objectives import (
    ClassificationObjective as ClassificationObjective,
)
from .objectives import (
    LanguageModelObjective as LanguageModelObjective,
)
from .objectives import (
    LossOutput as LossOutput,
)
from .objectives import (
    MaskedLM as MaskedLM,
)
from .objectives import (
    NextSentence as NextSentence,
)
from .objectives import (
    Objective as Objective,
)
from .objectives import (
    PrefixLM as PrefixLM,
)
from .objectives import (
    ReplacedToken as ReplacedToken,
)
from .objectives import (
    SentenceOrder as SentenceOrder,
)
from .objectives import (
    SpanDenoising as SpanDenoising,
)
from .objectives import (
    TextDenoising as TextDenoising,
)
from .optim import Adafactor as Adafactor
from .optim import LRSchedule as LRSchedule
from .optim import Muon as Muon
from .optim import parameter_groups as parameter_groups
from .training.module import Pretraining as Pretraining
from .views import Rows as Rows
from .views import Text as Text
from .views import View as View
from .views import Vocabulary as Vocabulary

__version__: str
