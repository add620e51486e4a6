"""What makes a run's experiment, and which differences are told."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW, write_corpus

from lm_objectives import (
    Backbone,
    CausalLM,
    Competence,
    Curriculum,
    Fixed,
    LRSchedule,
    MaskedLM,
    Pretraining,
    Stages,
    TextDataModule,
)
from lm_objectives.training.experiment import describe_experiment, differences, settings_in_parts

CONSTANT = LRSchedule("constant", warmup=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("experiment")
    write_corpus(place / "corpus.jsonl")
    return place


def described(place: Path, seq_len: Any = WINDOW, max_steps: int = 10, **module: Any) -> dict[str, Any]:
    """The experiment of a module that has not been trained."""
    torch.manual_seed(0)
    objectives = module.pop("objectives", {"causal": CausalLM(), "masked": MaskedLM()})
    made = Pretraining(Backbone("llama", BACKBONE), objectives, **{"lr_schedule": CONSTANT} | module)
    data = TextDataModule(
        str(place / "corpus.jsonl"), tokenizer=TOKENS, seq_len=seq_len, global_batch_size=ROWS, cache=str(place)
    )
    trainer = L.Trainer(max_steps=max_steps, accelerator="cpu", logger=False, enable_checkpointing=False)
    data.open(made.sources, trainer=trainer)
    made.build(data.vocabulary, data.seq_len, max_steps, "meta")
    return describe_experiment(made, trainer, data, made.configure_optimizers()["optimizer"])


def test_an_experiment_is_plain_data_by_the_names_of_settings(place: Path, tmp_path: Path) -> None:
    found = described(place)
    torch.save(found, tmp_path / "plain.pt")
    assert torch.load(tmp_path / "plain.pt", weights_only=True) == found
    assert found["model.backbone.config.hidden_act"] == "silu"
    assert found["model.objectives.masked"] == "lm_objectives.MaskedLM"
    assert (found["model.objectives.masked.mask_rate"], found["model.objectives.masked.share"]) == (0.15, 1.0)
    assert (found["model.optimizer"], found["model.optimizer.lr"]) == ("torch.optim.AdamW", 1e-3)
    assert (found["data.global_batch_size"], found["trainer.precision"], found["trainer.max_steps"]) == (
        ROWS, "32-true", 10,
    )  # fmt: skip


def sgd(rate: float) -> Any:
    return lambda groups: torch.optim.SGD(groups, lr=rate)


def apart(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([g | ({"lr": 0.5} if g["role"] == "embedding" else {}) for g in groups], lr=0.1)


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "a default written out": ({}, {"objectives": {"masked": MaskedLM(mask_rate=0.15), "causal": CausalLM()}}, []),
    "a function's rate": ({"optimizer": sgd(0.1)}, {"optimizer": sgd(0.2)}, ["model.optimizer.lr 0.2, was 0.1"]),
    "a function and its class": ({"optimizer": sgd(0.1)}, {"optimizer": partial(torch.optim.SGD, lr=0.1)}, []),
    "a function's groups": (
        {"optimizer": sgd(0.1)}, {"optimizer": apart}, ["model.optimizer.embedding.lr 0.5, was nothing"],
    ),
    "an inner balancer": (
        {"balancer": Curriculum(Stages({"masked": [[5, 1.0]]}))},
        {"balancer": Curriculum(Stages({"masked": [[5, 1.0]]}), Fixed({"causal": 2.0, "masked": 1.0}))},
        ["model.balancer.inner lm_objectives.Fixed, was None"],
    ),
    "a pace's points": (
        {"balancer": Curriculum(Stages({"masked": [[5, 1.0]]}))},
        {"balancer": Curriculum(Stages({"masked": [[6, 1.0]]}))},
        ["model.balancer.pace.points {'masked': [[6, 1.0]]}, was {'masked': [[5, 1.0]]}"],
    ),
    "an objective less": (
        {}, {"objectives": {"causal": CausalLM()}}, ["model.objectives.masked nothing, was lm_objectives.MaskedLM"],
    ),
    "another window": ({}, {"seq_len": 16}, ["data.seq_len 16, was 32"]),
    "another end": ({}, {"max_steps": 20}, []),
    "another end where it moves": (
        {"lr_schedule": LRSchedule("linear")},
        {"lr_schedule": LRSchedule("linear"), "max_steps": 20},
        ["trainer.max_steps 20, was 10 (in parts of it: model.lr_schedule)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_each_difference_is_named_as_the_setting_that_makes_it(case: str, place: Path) -> None:
    before, after, told = CHANGES[case]
    saved, now = described(place, **before), described(place, **after)
    assert sorted(differences(now, saved)) == sorted(told)
    assert differences(saved, copy.deepcopy(saved)) == []


PARTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "steps alone": ({"lr_schedule": LRSchedule("inverse_sqrt", warmup=3)}, []),
    "a share of the warmup": ({"lr_schedule": LRSchedule("constant", warmup=0.1)}, ["model.lr_schedule"]),
    "a decay": ({"lr_schedule": LRSchedule("wsd", warmup=1, decay_steps=2)}, ["model.lr_schedule"]),
    "points in steps": ({"seq_len": [[0, 16], [5, 32]]}, []),
    "points in parts": ({"seq_len": [[0, 16], [0.5, 32]]}, ["data.seq_len"]),
    "a rate": (
        {"objectives": {"masked": MaskedLM(mask_rate=[[0.0, 0.3], [1.0, 0.1]])}}, ["model.objectives.masked"],
    ),
    "a share": (
        {"objectives": {"causal": CausalLM(), "masked": MaskedLM(share=[[0.0, 0.5], [1.0, 1.0]])}},
        ["model.objectives.masked.share"],
    ),
    "stages": ({"balancer": Curriculum(Stages({"masked": [[0.5, 1.0]]}))}, ["model.balancer"]),
    "stages in steps": ({"balancer": Curriculum(Stages({"masked": [[5, 1.0]]}))}, []),
    "competence": ({"balancer": Curriculum(Competence(["causal", "masked"], duration=0.5))}, ["model.balancer"]),
    "competence in steps": ({"balancer": Curriculum(Competence(["causal", "masked"], duration=5))}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_what_goes_by_parts_of_the_length_is_found(case: str, place: Path) -> None:
    given, parts = PARTS[case]
    assert settings_in_parts(described(place, **given)) == parts


def test_what_another_version_of_a_class_has_is_no_difference() -> None:
    """An argument of torch's that is off, a field of transformers'; anything else that only one has is."""
    saved = {"model.optimizer": "torch.optim.SGD", "model.backbone.config.size": 8}
    now = {**saved, "model.optimizer.fused": None, "model.backbone.config.new": 3}
    assert differences(now, saved) == differences(saved, now) == []
    assert differences(now | {"model.optimizer.fused": True}, saved) == ["model.optimizer.fused True, was nothing"]
