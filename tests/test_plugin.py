"""Plug-ins as plain data and back."""

import enum
import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from lm_objectives.balancers import Curriculum, Fixed, Stages, Uncertainty
from lm_objectives.errors import InputError
from lm_objectives.objectives import CausalLM, MaskedLM, NextSentence, Objective, ReplacedToken
from lm_objectives.plugin import Plugin, from_config, import_modules, plain, to_config


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


@dataclass(frozen=True)
class Speck(Plugin):
    size: Any


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
        "torch.nn.Linear",
        "os.nothing",
        "lm_objectives.plugin.Plugins",
        "lm_objectives.gone.X",
        "Popen",
        "",
        3,
    ],
)
def test_other_classes_are_refused_and_not_called(path: Any) -> None:
    """Arguments that would do harm, or complain, if anything were called with them."""
    with pytest.raises(
        InputError, match=rf"^expected a class that inherits from Plugin, found {path}: give a checkpoint"
    ):
        from_config({"class_path": path, "init_args": {"command": "false", "args": ["false"]}})


def test_a_plugin_of_another_kind_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^expected a class that inherits from Objective, found lm_objectives\.Fixed: "
    ):
        from_config({"a": to_config(CausalLM()), "b": to_config(Fixed())}, Objective)


@pytest.mark.parametrize("arguments", [{"share": -1}, {"sharing": 1}, [1], None])
def test_arguments_that_do_not_fit_are_one_line_that_names_the_class(arguments: Any) -> None:
    with pytest.raises(InputError, match=r"lm_objectives\.CausalLM") as caught:
        from_config({"class_path": "lm_objectives.CausalLM", "init_args": arguments})
    assert "\n" not in str(caught.value)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module on the path, of a balancer, which leaves a file where it is imported; its name."""
    name = f"strangers_{tmp_path.name}"
    lines = f"""
        from pathlib import Path
        from lm_objectives import Fixed
        Path({str(tmp_path / "imported")!r}).touch()
        class Mine(Fixed):
            pass
    """
    (tmp_path / f"{name}.py").write_text(dedent(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_nothing_is_imported_but_what_the_user_names(stranger: str, tmp_path: Path) -> None:
    described = {"class_path": f"{stranger}.Mine", "init_args": {}}
    for within in (described, to_config(Branch(0.5)) | {"init_args": {"factor": 0.5, "leaf": described}}):
        with pytest.raises(
            InputError, match=rf"found {stranger}\.Mine: .* name it with --import_module {stranger}, or"
        ):
            from_config(within)
    assert not (tmp_path / "imported").exists()
    import_modules(stranger)
    assert type(from_config(described)).__name__ == "Mine" and (tmp_path / "imported").exists()


def test_a_module_that_is_gone_is_named() -> None:
    with pytest.raises(InputError, match=r"^expected a module gone_since to import, found none: check the spelling"):
        import_modules(["json", "gone_since"])


def test_refused_within_a_plugins_arguments() -> None:
    described = to_config(Branch(0.5))
    described["init_args"]["leaf"] = {"class_path": "os.system", "init_args": {"command": "false"}}
    with pytest.raises(InputError, match=r"found os\.system: "):
        from_config(described)


class Grade(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array([[0, 0.5], [1, 1]]), [[0.0, 0.5], [1.0, 1.0]]),
        (torch.tensor(3), 3),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor(True), True),
        (torch.tensor([[0.0, 0.5]]), [[0.0, 0.5]]),
        (Path("a/b"), "a/b"),
        (MappingProxyType({np.str_("a"): (np.int64(1), [Path("b")])}), {"a": (1, ["b"])}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_other_packages_and_paths_are_plain(given: Any, expected: Any) -> None:
    """Oracle: equal values of just Python's own types, as JSON and `weights_only` have them."""
    for made in (plain(given), to_config(Leaf(given))["init_args"]["size"], Leaf(given).size, Speck(given).size):
        again = json.loads(json.dumps(made))
        assert repr(made).replace("(", "[").replace(")", "]") == repr(expected).replace("(", "[").replace(")", "]")
        assert again == json.loads(json.dumps(expected))


def test_an_enumeration_stays_one_for_its_class_and_is_written_as_its_number() -> None:
    assert Leaf(Grade.HIGH).size is Grade.HIGH
    assert repr(to_config(Leaf(Grade.HIGH))["init_args"]["size"]) == "3"


def test_other_objects_stay_as_they_are() -> None:
    for value in (Leaf(1), len, torch.float32, {1, 2}, None, range(3)):
        assert plain(value) is value


def test_a_partial_keeps_its_function_and_what_was_set_on_it() -> None:
    given = functools.partial(dict, {"a": np.int64(1)}, lr=np.float64(0.5))
    given.note = "mine"  # type: ignore[attr-defined]
    made = plain(given)
    assert (made.func, made.args, made.note) == (dict, ({"a": 1},), "mine")
    assert type(made.keywords["lr"]) is float
