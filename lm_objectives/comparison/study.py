"""What a study compares: arms, seeds, a budget, tasks and claims."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from lm_objectives.errors import expect
from lm_objectives.evaluation.scorer import Precision

TUNING_SEED = 1_000_000
"""The first of the seeds that settings are tuned on: no study reports one of them."""

Settings = dict[str, Any]
"""All settings of a training, as `config.yaml` holds them."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_mapping(value: Any) -> Any:
    return {} if value is None else value  # `base:` alone is the base as it is


Texts = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Amounts = Annotated[list[_Amount], BeforeValidator(_as_list), Field(min_length=1)]
_Count = Annotated[int, Field(gt=0, lt=2**31, strict=True)]
_Counts = Annotated[list[_Count], BeforeValidator(_as_list), Field(min_length=1)]
_Strict = ConfigDict(extra="forbid")


@checked(frozen=True, config=_Strict)
class Arm:
    """One of the trainings that a study compares: the base with something laid over it.

    Attributes:
        ratio: parts of the rows by objective; others of the base are left out. Under `Fixed` the weights are these
            parts too, summing to 1; under another balancer they are its own.
        config: configurations laid over the base in turn, files or names of shipped ones.
        set: settings by their dotted names, laid over those.
    """

    ratio: dict[str, _Amount] | None = None
    config: Annotated[list[str], BeforeValidator(_as_list)] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)


@checked(frozen=True, config=_Strict)
class Budget:
    """What each arm may spend; several amounts of it are a ladder, on whose every rung each arm is trained.

    Attributes:
        flops: model FLOPs of a training, see `training.flops`.
        tokens: tokens read.
        seconds: of training on this machine, by timed steps.
        steps_of: the arm whose FLOPs in so many `steps` all arms have.
        steps: its optimizer steps.
    """

    flops: _Amounts | None = None
    tokens: _Amounts | None = None
    seconds: _Amounts | None = None
    steps_of: str | None = None
    steps: _Counts | None = None

    @property
    def kind(self) -> Literal["flops", "tokens", "seconds", "steps"]:
        """What is equal over the arms; FLOPs of an arm's steps are `steps`."""
        if self.steps is not None:
            return "steps"
        return "flops" if self.flops is not None else "tokens" if self.tokens is not None else "seconds"

    @property
    def amounts(self) -> list[float]:
        """The ladder's rungs, the smallest first."""
        return sorted(map(float, self.steps or self.flops or self.tokens or self.seconds or ()))


@checked(frozen=True, config=_Strict)
class EvaluationPlan:
    """What each trained model is evaluated on; the fields are those of the command `evaluate`."""

    tasks: Texts
    readings: list[str] | None = None
    items: Annotated[int, Field(ge=0, strict=True)] = 0
    batch_tokens: _Count = 16384
    precision: Precision = "32-true"


@checked(frozen=True, config=_Strict)
class Claim:
    """A statement that is planned before the runs: one of `better`, `equal` and `not_worse` is given.

    Attributes:
        better: the arm that is claimed to be better than each of `than`.
        equal: the arm that is claimed to differ from the one `to` by less than `within`.
        not_worse: the arm that is claimed to be worse than none of `than` by `within` or more.
        than, to: other arms. `masked@0.5` is masked with half of the largest budget, which the ladder then has.
        on: numbers, each task/reading/metric; the metric may be left out (nats of held_out, accuracy of others).
        within: in the unit of that number; a share for accuracies.
    """

    on: Texts
    better: str | None = None
    equal: str | None = None
    not_worse: str | None = None
    than: Annotated[list[str], BeforeValidator(_as_list)] = field(default_factory=list)
    to: str | None = None
    within: _Amount | None = None

    @property
    def kind(self) -> Literal["better", "equal", "not_worse"]:
        """Which of the three it is."""
        return "better" if self.better else "equal" if self.equal else "not_worse"

    @property
    def arm(self) -> str:
        """The arm that it is about."""
        return self.better or self.equal or self.not_worse or ""

    @property
    def others(self) -> list[str]:
        """The arms that it is held against."""
        return [self.to] if self.to else list(self.than)


@checked(frozen=True, config=_Strict)
class Tuning:
    """A search of settings before the study, with the same number of runs for every arm.

    Attributes:
        grid: values by dotted setting, of which every combination is tried in every arm.
        arms: instead, the settings that each arm tries, one mapping a run.
        seeds: of each combination, from `TUNING_SEED` on.
        by: the number that decides, as in a claim; by default the mean nats of the arm's own readings of held_out.
    """

    grid: dict[str, list[Any]] | None = None
    arms: dict[str, Annotated[list[dict[str, Any]], Field(min_length=1)]] | None = None
    seeds: _Count = 1
    by: str | None = None


@checked(frozen=True, config=_Strict)
class Study:
    """A whole study, as its file says it.

    Attributes:
        base: configurations laid over one another, files or names of shipped ones.
        arms: what is compared, by names of your choice.
        seeds: how many, from 0 on, or which; each is the seed of weights and of rows. The split stays the base's.
        budget: what each arm may spend.
        evaluate: what its model is evaluated on.
        claims: statements that are tested; all else is description.
        tune: the search of settings before.
        looks: numbers of seeds after which the claims are looked at, the last being all; by default once, at the end.
        output: folder of the runs and the report.
        import_module: modules of yours whose classes the configurations name.
    """

    base: Texts
    arms: Annotated[dict[str, Annotated[Arm, BeforeValidator(_as_mapping)]], Field(min_length=1)]
    seeds: _Count | Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]
    budget: Budget
    evaluate: EvaluationPlan
    output: str
    claims: list[Claim] = field(default_factory=list)
    tune: Tuning | None = None
    looks: _Counts | None = None
    import_module: Annotated[list[str], BeforeValidator(_as_list)] = field(default_factory=list)

    @property
    def seed_list(self) -> list[int]:
        """The seeds, in the order in which they are trained."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def output_folder(self) -> Path:
        """The folder of the runs and the report."""
        return Path(self.output).expanduser()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.output_folder.resolve().name


@dataclass(frozen=True)
class ArmAt:
    """An arm with a part of the largest budget, as `masked@0.5` names it."""

    arm: str
    part: float = 1.0

    @staticmethod
    def parse(text: str) -> "ArmAt":
        """The arm of a claim.

        >>> ArmAt.parse("masked@0.5")
        ArmAt(arm='masked', part=0.5)

        Raises:
            InputError: where the part is no number from above 0 to 1.
        """
        arm, at, part = text.partition("@")
        try:
            value = float(part) if at else 1.0
        except ValueError:
            value = math.nan
        expect(0 < value <= 1, f"a part of the budget above 0, at most 1, in {text}", part, "write masked@0.5, say")
        return ArmAt(arm, value)
