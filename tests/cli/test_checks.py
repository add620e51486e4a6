"""Names of plug-ins that cannot be what they should be."""

import sys
from pathlib import Path

import pytest

from lm_objectives.cli.arguments import read_settings
from lm_objectives.cli.checks import check_user_classes
from lm_objectives.errors import InputError

FILES = {
    "own_good": "from lm_objectives.objectives import CausalLM\nclass Mine(CausalLM): pass\nclass Other: pass\n"
    "def number() -> float: return 1.0\n"
    "def make() -> Mine: return Mine()\n",
    "own_syntax": "x = 1\ndef f((self): pass\n",
    "own_imports": "import there_is_no_such_module\n",
    "own_raises": "x = 1\n\ny = x / 0\n",
}
OBJECTIVE, BALANCER = "--model.objectives.mine", "--model.balancer"
BAD = [
    (
        [OBJECTIVE, "own_absent.Mine"],
        r"expected a module own_absent for own_absent\.Mine, found none: check the spelling",
    ),
    (
        [OBJECTIVE, "own_good.Mne"],
        r"from Objective in model\.objectives\.mine, found 'own_good\.Mne': did you mean Mine\? there are CausalLM, M",
    ),
    ([OBJECTIVE, "own_good.Other"], r"from Objective in model\.objectives\.mine, found 'own_good\.Other': there are"),
    ([f"{BALANCER}=own_good.Mine"], r"from Balancer in model\.balancer, found 'own_good\.Mine': there are your own"),
    ([OBJECTIVE, "GradNorm"], r"from Objective in model\.objectives\.mine, found 'GradNorm': there are .*CausalLM, "),
    ([OBJECTIVE, "math.sqrt"], r"from Objective in model\.objectives\.mine, found 'math\.sqrt': there are your own"),
    (
        [BALANCER, "{class_path: lm_objectives.cli.main.run}"],
        r"from Balancer in model\.balancer.class_path, found 'lm_obj",
    ),
    (
        ["--model.optimizer", "own_good.number"],
        r"from Optimizer in model\.optimizer, found 'own_good\.number': there are",
    ),
    (["--model.optimizer", "Adamw"], r"from Optimizer in model\.optimizer, found 'Adamw': did you mean Adam"),
]
OWN_ERRORS = {
    "own_syntax": (SyntaxError, "own_syntax.py, line 2"),
    "own_imports": (ModuleNotFoundError, "there_is_no_such_module"),
    "own_raises": (ZeroDivisionError, "division by zero"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "told"), BAD, ids=[arguments[-1] for arguments, _ in BAD])
def test_by_flag(arguments: list[str], told: str, folder: Path) -> None:
    with pytest.raises(InputError, match=told):
        check_user_classes(read_settings(arguments))


@pytest.mark.parametrize("module", OWN_ERRORS)
def test_what_a_users_module_raises_is_left_alone(module: str, folder: Path) -> None:
    kind, text = OWN_ERRORS[module]
    with pytest.raises(kind, match=text):
        check_user_classes(read_settings([OBJECTIVE, f"{module}.Mine"]))


def test_in_a_file(folder: Path) -> None:
    config = folder / "own.yaml"
    config.write_text("model: {objectives: {mine: {class_path: own_good.Mne}}}\n", encoding="utf-8")
    with pytest.raises(InputError, match="did you mean Mine"):
        check_user_classes(read_settings(["--config", str(config)]))


@pytest.mark.parametrize(
    "value",
    ["own_good.Mine", "own_good.make", "lm_objectives.CausalLM", "CausalLM", "null", "{class_path: CausalLM}", "0.5"],
)
def test_what_is_right_passes(value: str, folder: Path) -> None:
    check_user_classes(read_settings([OBJECTIVE, value, "--model.objectives.mine.share", "own_absent.x"]))
