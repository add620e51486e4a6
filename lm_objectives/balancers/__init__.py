"""Balancers: weights for the total of several losses."""

from lm_objectives.balancers.base import Balancer, StepStatistics
from lm_objectives.balancers.by_difficulty import ByDifficulty
from lm_objectives.balancers.competence import Competence
from lm_objectives.balancers.curriculum import Curriculum, PacingFunction
from lm_objectives.balancers.dynamic_weight_average import DynamicWeightAverage
from lm_objectives.balancers.famo import FAMO
from lm_objectives.balancers.fixed import Fixed
from lm_objectives.balancers.geometric_mean import GeometricMean
from lm_objectives.balancers.gradnorm import GradNorm
from lm_objectives.balancers.imtl_l import IMTLL
from lm_objectives.balancers.random_weights import RandomWeights
from lm_objectives.balancers.stages import Stages
from lm_objectives.balancers.torchjd import TorchJD
from lm_objectives.balancers.uncertainty import Uncertainty

__all__ = [
    "FAMO",
    "IMTLL",
    "Balancer",
    "ByDifficulty",
    "Competence",
    "Curriculum",
    "DynamicWeightAverage",
    "Fixed",
    "GeometricMean",
    "GradNorm",
    "PacingFunction",
    "RandomWeights",
    "Stages",
    "StepStatistics",
    "TorchJD",
    "Uncertainty",
]
