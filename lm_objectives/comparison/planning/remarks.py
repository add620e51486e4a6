"""What has to be said of a plan: how far its arms are paired, and what a reader of the comparison has to know."""

from collections.abc import Iterable, Mapping, Sequence

from lm_objectives.comparison.planning.planner import PlannedArm, settings_hash
from lm_objectives.comparison.records import ArmPlan, Pairing
from lm_objectives.comparison.study import Study
from lm_objectives.data.plan import row_owner


def pair(arms: Mapping[str, PlannedArm], plans: Iterable[ArmPlan]) -> Pairing:
    """Which arms begin with the same backbone, and read the same rows of an objective."""
    read = {plan.arm: plan.objectives for plan in plans}
    starts: dict[str, list[str]] = {}
    rows: dict[str, dict[str, list[str]]] = {}
    for name, arm in arms.items():
        starts.setdefault(arm.cost.start, []).append(name)
        sources, data = arm.experiment.module.sources, arm.experiment.data
        for objective in read[name]:
            described = [
                {key: value for key, value in arm.settings["model"]["objectives"][other].items() if key != "share"}
                for other in {objective, row_owner(objective, sources)}
            ]
            for one in described:
                one["init_args"] = {key: value for key, value in one["init_args"].items() if key != "share"}
            key = settings_hash(described, arm.settings["data"]["seq_len"], data.settings.packing, data.text.identity)
            rows.setdefault(objective, {}).setdefault(key, []).append(name)
    shared = {objective: [*groups.values()] for objective, groups in rows.items()}
    return Pairing([*starts.values()], {name: groups for name, groups in shared.items() if max(map(len, groups)) > 1})


def remarks(study: Study, arms: Mapping[str, PlannedArm], plans: Sequence[ArmPlan]) -> list[str]:
    """What settings alone say to a reader of the comparison."""
    said = []
    last = [plan for plan in plans if plan.rung == len(study.budget.amounts) - 1]
    most, least = max(last, key=lambda plan: plan.tokens), min(last, key=lambda plan: plan.tokens)
    if study.budget.kind != "tokens" and most.tokens > 1.01 * least.tokens:
        more = most.tokens / least.tokens - 1
        said.append(
            f"equal {_noun(study)} is not equal data: {most.arm} reads {100 * more:.0f} % more tokens than {least.arm}"
        )
    if study.budget.kind == "seconds":
        said.append("seconds are of this machine: another one would give arms other steps")
    for name, arm in arms.items():
        balancer = type(arm.experiment.module.balancer).__name__
        if study.arms[name].ratio is not None and balancer != "Fixed":
            said.append(f"{name}: ratio sets the shares of the rows alone, the weights are {balancer}'s")
        if arm.lost:
            said.append(f"{name}: without {', '.join(arm.lost)}: every arm is trained to its last step, which counts")
        unlearned = [reading for reading, trained in arm.readings.items() if not trained]
        if unlearned:
            said.append(f"{name}: also read as {', '.join(unlearned)}, by the same head, without having learned it")
        if not arm.cost.is_known:
            said.append(f"{name}: losses decide which objectives read: its FLOPs are unknown, its tokens as if all did")
    optimizers = {
        settings_hash(arm.settings["model"]["optimizer"], arm.settings["model"]["lr_schedule"]) for arm in arms.values()
    }
    if study.tune is None and len(optimizers) > 1:
        said.append("arms have other optimizer settings than each other: unequal tuning")
    if study.tune is None:
        said.append("settings were not tuned per arm")
    vocabularies = {settings_hash(arm.experiment.data.text.tokenizer_files) for arm in arms.values()}
    if len(vocabularies) > 1:
        said.append("arms have other vocabularies than each other: compare bits per byte, not nats")
    tested = sum(len(claim.on) for claim in study.claims)
    if tested > 1:
        said.append(f"{tested} claims and numbers: Holm's correction over {tested}")
    return said


def _noun(study: Study) -> str:
    return "time" if study.budget.kind == "seconds" else "FLOPs"
