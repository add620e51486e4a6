from .backbone.backbone import Backbone as Backbone
from .balancers import (
    FAMO as FAMO,
    IMTLL as IMTLL,
    Balancer as Balancer,
    ByDifficulty as ByDifficulty,
    Competence as Competence,
    Curriculum as Curriculum,
    DynamicWeightAverage as DynamicWeightAverage,
    Fixed as Fixed,
    GeometricMean as GeometricMean,
    GradNorm as GradNorm,
    PacingFunction as PacingFunction,
    RandomWeights as RandomWeights,
    Stages as Stages,
    StepStatistics as StepStatistics,
    TorchJD as TorchJD,
    Uncertainty as Uncertainty,
)
from .callbacks import GradientConflict as GradientConflict
from .corruptions import (
    Corruption as Corruption,
    Geometric as Geometric,
    NextSentencePairs as NextSentencePairs,
    NextToken as NextToken,
    NGram as NGram,
    Poisson as Poisson,
    PrefixNextToken as PrefixNextToken,
    SentenceOrderPairs as SentenceOrderPairs,
    SpanCorruption as SpanCorruption,
    SpanLengths as SpanLengths,
    TextInfilling as TextInfilling,
    TokenMasking as TokenMasking,
    TokenReplacement as TokenReplacement,
    Uniform as Uniform,
)
from .data.datamodule import TextDataModule as TextDataModule
from .objectives import (
    BaselineNames as BaselineNames,
    CausalLM as CausalLM,
    LossOutput as LossOutput,
    MaskedLM as MaskedLM,
    NextSentence as NextSentence,
    Objective as Objective,
    PrefixLM as PrefixLM,
    ReplacedToken as ReplacedToken,
    SentenceOrder as SentenceOrder,
    SpanDenoising as SpanDenoising,
    TextDenoising as TextDenoising,
)
from .optim import Adafactor as Adafactor, LRSchedule as LRSchedule, Muon as Muon
from .training.module import Pretraining as Pretraining
from .views import Rows as Rows, Text as Text, View as View, Vocabulary as Vocabulary
__version__: str
