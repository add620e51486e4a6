"""An arm's settings: the base with what it lays over it, key by key."""

import copy
from pathlib import Path
from typing import Any

import pytest

from lm_objectives.cli.experiments import READER
from lm_objectives.comparison.planning.arms import (
    arguments_of,
    settings_of_run,
    with_ratio,
    without_objectives,
    without_selection,
)
from lm_objectives.comparison.study_file import study_of
from lm_objectives.errors import InputError


@pytest.fixture(scope="module")
def base(place: Path) -> dict[str, Any]:
    return READER.read(["--config", str(place / "tiny.yaml")])


def weights_of(settings: dict[str, Any]) -> dict[str, float]:
    return settings["model"]["balancer"]["init_args"]["weights"]


def shares_of(settings: dict[str, Any]) -> dict[str, float]:
    return {name: one["init_args"]["share"] for name, one in settings["model"]["objectives"].items()}


def test_a_ratio_sets_shares_and_weights_that_sum_to_1(base: dict[str, Any]) -> None:
    """Oracle: GPT-BERT's 1 to 15, L = (L_causal + 15 L_masked) / 16."""
    before = copy.deepcopy(base)
    made = with_ratio(base, {"causal": 1.0, "masked": 15.0})
    assert base == before
    assert weights_of(made) == {"causal": 1 / 16, "masked": 15 / 16, "order": 0}
    assert {name: shares_of(made)[name] for name in ("causal", "masked")} == {"causal": 1, "masked": 15}
    assert with_ratio(base, None) == base


def test_under_another_balancer_it_sets_shares_alone(place: Path) -> None:
    base = READER.read(["--config", str(place / "tiny.yaml"), "--config", "balancers/gradnorm"])
    made = with_ratio(base, {"causal": 3.0, "order": 1.0})
    assert shares_of(made) == {"causal": 3, "order": 1}
    assert made["model"]["balancer"] == base["model"]["balancer"]


def test_objectives_are_left_out_with_their_weights(base: dict[str, Any]) -> None:
    made = without_objectives(with_ratio(base, {"causal": 1.0}), {"masked", "order"})
    assert [*made["model"]["objectives"]] == ["causal"] and weights_of(made) == {"causal": 1}


@pytest.mark.parametrize(
    ("ratio", "line"),
    [
        ({"casual": 1.0}, "found 'casual': did you mean causal?"),
        ({"x": 1.0}, "found 'x': the base has causal, masked, order"),
    ],
)
def test_an_objective_that_is_not_there(ratio: dict[str, float], line: str, base: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected objectives of the base in its ratio, ") as caught:
        with_ratio(base, ratio)
    assert line in str(caught.value)


def test_an_objective_that_reads_another_ones_rows_has_no_part(place: Path) -> None:
    guest = ["--config", str(place / "tiny.yaml"), "--model.objectives.masked.shares_rows_with", "order"]
    with pytest.raises(InputError, match="masked, which shares those of order: set shares_rows_with to null"):
        with_ratio(READER.read(guest), {"masked": 1.0})


def test_what_an_arm_lays_over_the_base(place: Path) -> None:
    """Oracle: `fit` itself, whose configurations and flags these are."""
    study = study_of(
        {
            "base": str(place / "tiny.yaml"),
            "arms": {"it": {"config": "optimizers/sgd", "set": {"data.seq_len": [[0, 16], [4, 32]]}}},
            "seeds": 1,
            "budget": {"tokens": 1e5},
            "evaluate": {"tasks": "held_out"},
            "output": "x",
        },
        "study.yaml",
    )
    made = READER.read(arguments_of(study, study.arms["it"], {"model.optimizer.lr": 0.25}))
    plain = ["--config", str(place / "tiny.yaml"), "--config", "optimizers/sgd", "--model.optimizer.lr", "0.25"]
    assert made == READER.read([*plain, "--data.seq_len", "[[0, 16], [4, 32]]"])
    assert made["model"]["optimizer"]["init_args"]["lr"] == 0.25


def test_no_arm_has_a_selection_that_others_lack(base: dict[str, Any]) -> None:
    kinds = {"ModelCheckpoint": {"monitor": "val/order/loss"}, "EarlyStopping": {"monitor": "val/order/loss"}}
    kinds |= {"LearningRateMonitor": {}}
    base = copy.deepcopy(base)
    base["trainer"]["callbacks"] = [
        {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": given} for name, given in kinds.items()
    ]
    made, lost = without_selection(base)
    assert lost == ["ModelCheckpoint", "EarlyStopping"]
    [kept] = made["trainer"]["callbacks"]
    assert kept["class_path"].endswith("LearningRateMonitor")
    assert without_selection(with_ratio(made, None))[1] == []


def test_a_run_is_trained_to_its_last_step_and_keeps_its_last_checkpoint(base: dict[str, Any]) -> None:
    settings, _ = without_selection(base)
    made = settings_of_run(
        settings, steps=70, seed=3, split_seed=11, folder="runs/a/3", evaluation={"tasks": ["held_out"]}, tracking={}
    )
    assert (made["seed_everything"], made["data"]["seed"], made["data"]["split_seed"]) == (3, 3, 11)
    assert made["trainer"]["max_steps"] == 70 and made["trainer"]["default_root_dir"] == "runs/a/3"
    [checkpoint] = made["trainer"]["callbacks"]
    assert checkpoint["init_args"]["save_last"] and checkpoint["init_args"]["every_n_train_steps"] == 7
