"""Plug-ins as plain data and back."""

import json
from typing import Any

import pytest

from lm_objectives.balancers import Curriculum, Stages, Uncertainty
from lm_objectives.objectives import CausalLM, MaskedLM, NextSentence, Objective, ReplacedToken
from lm_objectives.plugin import Plugin, from_config, to_config


class Leaf(Plugin):
    def __init__(self, size: int, *, names: tuple[str, ...] = (), **kwargs: Any) -> None:
        self.size, self.names, self.rest = size, names, kwargs


class Branch(Leaf):
    """Says what it was made with itself, not what it handed to its base."""

    def __init__(self, factor: float, leaf: Leaf | None = None) -> None:
        super().__init__(int(factor * 10))
        self.factor, self.leaf = factor, leaf


class Twig(Branch):
    pass


def test_description_is_class_path_and_arguments() -> None:
    assert to_config(Leaf(3, names=("a", "b"), depth=2)) == {
        "class_path": f"{__name__}.Leaf",
        "init_args": {"size": 3, "names": ["a", "b"], "depth": 2},
    }


def test_most_derived_class_speaks_for_all() -> None:
    assert to_config(Twig(0.5))["init_args"] == {"factor": 0.5}
    assert to_config(Twig(0.5))["class_path"] == f"{__name__}.Twig"


@pytest.mark.parametrize(
    "plugin",
    [
        Branch(0.5, leaf=Leaf(2)),
        CausalLM(share=2.0),
        MaskedLM(0.3, predict_from="previous", shares_rows_with="order"),
        ReplacedToken(generator=0.5, discriminator_factor=10.0),
        Curriculum(pace=Stages({"causal": [[0, 0.5], [1.0, 1.0]]}), inner=Uncertainty(variant="liebel")),
    ],
    ids=lambda plugin: type(plugin).__name__,
)
def test_rebuilt_is_described_the_same(plugin: Plugin) -> None:
    described = to_config(plugin)
    again = from_config(json.loads(json.dumps(described)))
    assert type(again) is type(plugin)
    assert again is not plugin
    assert to_config(again) == described


def test_rebuilt_holds_what_was_given() -> None:
    again = from_config(to_config({"masked": MaskedLM(0.3, share=0.4)}))["masked"]
    assert isinstance(again, Objective)
    assert (again.corruption.rate, again.share) == (0.3, 0.4)  # type: ignore[attr-defined]
    branch = from_config(to_config(Branch(0.5, leaf=Leaf(2))))
    assert branch.leaf.size == 2


def test_what_the_package_exports_goes_by_its_public_name() -> None:
    """So that files may move, as jsonargparse writes it."""
    described = to_config({"next": NextSentence(), "paced": Curriculum(pace=Stages({"next": [[0, 1.0]]}))})
    assert described["next"]["class_path"] == "lm_objectives.NextSentence"
    assert described["paced"]["class_path"] == "lm_objectives.Curriculum"
    assert described["paced"]["init_args"]["pace"]["class_path"] == "lm_objectives.Stages"


@pytest.mark.parametrize("plain", [None, True, 3, 0.5, "text", [1, "a"], {"a": {"b": [None]}}])
def test_plain_data_stays(plain: Any) -> None:
    assert from_config(to_config(plain)) == plain


def test_what_is_a_plugin_already_stays() -> None:
    leaf = Leaf(2)
    assert from_config(leaf) is leaf


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.nn.Linear",
        "os.nothing",
        "lm_objectives.plugin.Plugins",
        "Popen",
        "",
    ],
)
def test_other_classes_are_refused_and_not_called(path: str) -> None:
    """Arguments that would do harm, or complain, if anything were called with them."""
    with pytest.raises(TypeError, match=rf"^expected the class path of an objective or a balancer, found {path}$"):
        from_config({"class_path": path, "init_args": {"command": "false", "args": ["false"]}})


def test_a_module_that_is_gone_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'gone_since'"):
        from_config({"class_path": "gone_since.Objective", "init_args": {}})


def test_refused_within_a_plugins_arguments() -> None:
    described = to_config(Branch(0.5))
    described["init_args"]["leaf"] = {"class_path": "os.system", "init_args": {"command": "false"}}
    with pytest.raises(TypeError, match=r"found os\.system$"):
        from_config(described)
