"""Optimizer factories as plain data and back."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch.optim import SGD, AdamW

from lm_objectives import InputError, Muon
from lm_objectives.optim import Adafactor, OptimizerFactory
from lm_objectives.optim.factory import factory_from_config, factory_to_config, make_optimizer


def groups() -> list[dict[str, Any]]:
    return [{"params": [torch.nn.Parameter(torch.ones(2, 2))], "role": "matrix"}]


def by_command_line(*arguments: str) -> Any:
    """What the command line makes of `--optimizer`, in the parser's own way."""
    parser = ArgumentParser()
    parser.add_argument("--optimizer", type=OptimizerFactory)
    return parser.instantiate_classes(parser.parse_args(arguments)).optimizer


FACTORIES = {
    "class": (AdamW, "torch.optim.AdamW", {}),
    "partial": (partial(SGD, lr=0.1, momentum=0.9), "torch.optim.SGD", {"lr": 0.1, "momentum": 0.9}),
    "partial of a partial": (partial(partial(SGD, lr=0.1), lr=0.2), "torch.optim.SGD", {"lr": 0.2}),
    "pair": (partial(AdamW, betas=(0.8, 0.9)), "torch.optim.AdamW", {"betas": [0.8, 0.9]}),
    "numpy": (partial(SGD, lr=np.float64(0.1)), "torch.optim.SGD", {"lr": 0.1}),
    "tensor": (partial(AdamW, lr=torch.tensor(0.5)), "torch.optim.AdamW", {"lr": 0.5}),
    "ours": (partial(Muon, lr=0.01), "lm_objectives.Muon", {"lr": 0.01}),
    "torch's of the same name": (torch.optim.Adafactor, "torch.optim.Adafactor", {}),
    "ours of the same name": (Adafactor, "lm_objectives.Adafactor", {}),
}


@pytest.mark.parametrize("case", FACTORIES)
def test_a_class_and_its_arguments_are_plain_data_from_which_an_equal_optimizer_is_made(case: str) -> None:
    factory, path, arguments = FACTORIES[case]
    described = factory_to_config(factory)
    assert described == {"class_path": path, "init_args": arguments}
    again = factory_from_config(json.loads(json.dumps(described)))
    one, other = factory(groups()), again(groups())
    assert type(one) is type(other) and json.dumps(one.defaults, default=float) == json.dumps(other.defaults)


def test_what_the_command_line_makes_is_described_by_the_class_that_it_calls() -> None:
    described = factory_to_config(by_command_line("--optimizer", "torch.optim.SGD", "--optimizer.lr", "0.25"))
    assert isinstance(described, dict)
    assert (described["class_path"], described["init_args"]["lr"]) == ("torch.optim.SGD", 0.25)


def custom(parameters: Any, rate: float = 0.1) -> torch.optim.Optimizer:
    return SGD(parameters, lr=rate)


def wrapping(kind: type, parameters: Any) -> torch.optim.Optimizer:
    return kind(parameters, lr=0.1, maximize=True)


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (lambda parameters: SGD(parameters), "<lambda>"),
        (custom, "custom"),
        (partial(custom, rate=0.2), "custom"),
        (partial(wrapping, SGD), "wrapping"),
        (partial(AdamW, lr=object()), "AdamW"),
    ],
)
def test_of_a_function_the_name_is_kept_and_the_function_asked_for(factory: Any, name: str) -> None:
    described = factory_to_config(factory)
    assert isinstance(described, str) and described.endswith(name)
    again = factory_from_config(described)
    assert factory_to_config(again) == described
    with pytest.raises(InputError, match=rf"trained with a function, .*{name}, .*: give it as load_from_checkpoint"):
        again(groups())


@pytest.mark.parametrize("path", ["pathlib.Path", "lm_objectives.CausalLM", "os.system", "AdamW", "torch.optim"])
def test_only_optimizers_are_made(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a class that inherits from Optimizer, found"):
        factory_from_config({"class_path": path, "init_args": {}})


def test_numbers_of_numpy_are_plain_in_the_optimizer() -> None:
    """Else a checkpoint would hold pickled ones, and not load with `weights_only`."""
    optimizer = make_optimizer(lambda parameters: SGD(parameters, lr=np.float64(0.1)), groups())
    assert type(optimizer.param_groups[0]["lr"]) is type(optimizer.defaults["lr"]) is float
