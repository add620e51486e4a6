"""Lines of an objective of a user's own: from a file outside the package, which loads nothing of the demo."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from utils.families import FAMILIES

from lm_objectives import Backbone
from lm_objectives.demo.command import demo, show_all
from lm_objectives.demo.context import make_context
from lm_objectives.demo.generate import Sampling
from lm_objectives.training.run import load_run

OWN = '''
from lm_objectives import CausalLM, InputError, show

class Own(CausalLM):
    """An objective of a user's own."""

class Heir(Own):
    """Shown as what it inherits from."""

@show.register(Own)
def show_own(objective, context):
    sentences = len(context.text.sentences)
    if sentences > 2:
        raise ValueError("a defect")
    if sentences > 1:
        raise InputError("expected one sentence, found two: leave one out")
    yield f"  {sentences} sentence of {objective.corruption.frame} frame"
'''


@pytest.fixture
def checkpoint(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two objectives from a file of a user's own."""
    (tmp_path / "own_lines.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_lines", raising=False)
    own = importlib.import_module("own_lines")
    return train(Backbone("bert", FAMILIES["bert"]), {"heir": own.Heir(), "mine": own.Own()})


def test_lines_of_a_file_outside_the_package_are_shown(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo(str(checkpoint), "The dog ran home.")
    lines = capsys.readouterr().out.splitlines()[1:]
    told = "  1 sentence of none frame"
    assert lines == ["", "heir (Heir)", told, "", "mine (Own)", told]


def test_its_errors_of_input_are_shown_and_its_defects_are_not_hidden(checkpoint: Path) -> None:
    run = load_run(str(checkpoint))
    made = make_context(run, "The dog ran home. A cat sat away.", Sampling())
    assert show_all(made)[2] == "  expected one sentence, found two: leave one out"
    with pytest.raises(ValueError, match="a defect"):
        show_all(make_context(run, "The dog ran home. A cat sat. A dog sat.", Sampling()))


def test_registering_loads_nothing_of_the_demo() -> None:
    """Oracle: what a fresh process has loaded when it has imported `show`."""
    code = "import sys; from lm_objectives import show; print(*[name for name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if name.startswith("lm_objectives.")} == {
        "lm_objectives.demo",
        "lm_objectives.demo.show",
    }
    assert "torch" not in loaded
