"""What is known of a study's runs: the plan of each arm, and what each run measured."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ArmPlan:
    """What one arm does with a budget.

    Attributes:
        arm: its name.
        rung: the budget's number in the ladder, 0 for the smallest.
        objectives: parts of the rows by objective; those that move over the training at its end.
        steps: optimizer steps.
        tokens: read in them, without padding.
        flops: model FLOPs of them; `None` where losses decide which objectives read.
        epochs: times that the training text is read.
        parameters: of backbone and heads.
        seconds: of training here, by timed steps; `None` where nothing was timed.
        balancer: its class.
    """

    arm: str
    rung: int
    objectives: dict[str, float]
    steps: int
    tokens: float
    flops: float | None
    epochs: float
    parameters: int
    seconds: float | None
    balancer: str


@dataclass(frozen=True)
class RunRecord:
    """What one run came to.

    Attributes:
        arm, seed, rung: which run it is.
        folder: where it lies, from the study's folder.
        failed: why it gave no result, in one line; `None` where it did.
        numbers: its results by task/reading/metric.
        item_se: their standard errors over items, where they have one.
        chance: what knowing nothing gives, where that is known.
        steps, tokens, flops, parameters: of its training.
        seconds: that training and evaluation took; several starts are added up.
        skipped: optimizer steps that were left out, being infinite or NaN.
        device: that it was evaluated on.
        versions: of the packages that it ran with.
        curves: held-out numbers over the training, `val/…`, as (FLOPs, value).
        weights: the balancer's weight of each objective, as (step, weight).
    """

    arm: str
    seed: int
    rung: int
    folder: str
    failed: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    item_se: dict[str, float] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    tokens: int = 0
    flops: float = 0.0
    parameters: int = 0
    seconds: float = 0.0
    skipped: int = 0
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    weights: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairing:
    """How far the arms of a seed begin alike and read alike.

    Attributes:
        same_start: groups of arms whose backbones begin with the same weights.
        same_rows: for each objective that several arms have, the groups of them that read the same rows.
    """

    same_start: list[list[str]]
    same_rows: dict[str, list[list[str]]]


@dataclass(frozen=True)
class PlanRecord:
    """A whole plan: what will be trained, and what has to be said of it beforehand.

    Attributes:
        budget: what is equal, in words.
        arms: one for each arm and rung.
        seeds: of the runs, in their order.
        pairing: of the arms.
        warnings: what a reader has to know.
        threads: CPU threads of each run.
        megabytes: on disk for all runs, about; `None` where nothing was measured.
        tuning_runs: runs that come before; 0 without tuning.
        chosen: the settings that tuning chose, by arm.
    """

    budget: str
    arms: list[ArmPlan]
    seeds: list[int]
    pairing: Pairing
    warnings: list[str] = field(default_factory=list)
    threads: int = 1
    megabytes: float | None = None
    tuning_runs: int = 0
    chosen: dict[str, dict[str, object]] = field(default_factory=dict)
