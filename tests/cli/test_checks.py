"""What is wrong with a user's own class is told before anything else happens."""

import sys
from pathlib import Path

import pytest

from lm_objectives.cli.checks import check_user_classes

FILES = {
    "own_good": "from lm_objectives.objectives import CausalLM\nclass Mine(CausalLM): pass\nclass Other: pass\n",
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
    ([OBJECTIVE, "own_good.Mne"], r"expected a class Mne in own_good, found none: did you mean Mine\?"),
    ([OBJECTIVE, "own_good.Other"], r"expected Objective or a class that inherits from it in .*own_good\.Other"),
    (
        [f"{BALANCER}=own_good.Mine"],
        r"expected Balancer or a class that inherits from it in model\.balancer, found own_",
    ),
    ([f"{OBJECTIVE}.class_path", "own_syntax.Mine"], r"found SyntaxError in own_syntax\.py, line 2: "),
    ([OBJECTIVE, "own_imports.Mine"], r"found that it imports there_is_no_such_module, which there is not: install it"),
    ([OBJECTIVE, "own_raises.Mine"], r"found ZeroDivisionError in own_raises\.py, line 3: division by zero"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "told"), BAD, ids=[arguments[-1] for arguments, _ in BAD])
def test_by_flag(arguments: list[str], told: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=told):
        check_user_classes(arguments)


def test_in_a_file(folder: Path) -> None:
    config = folder / "own.yaml"
    config.write_text("model: {objectives: {mine: {class_path: own_good.Mne}}}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="did you mean Mine"):
        check_user_classes(["--config", str(config)])


@pytest.mark.parametrize("value", ["own_good.Mine", "CausalLM", "null", "{class_path: CausalLM}", "0.5"])
def test_what_is_right_passes(value: str, folder: Path) -> None:
    check_user_classes([OBJECTIVE, value, "--model.objectives.mine.share", "own_absent.x"])
