"""The picture of a run."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from utils.callback_runs import fit

from lm_objectives.callbacks.curves import Curves, draw_curves, read_column
from lm_objectives.training.loggers import RunCSVLogger

TABLE = """step,train/causal/loss,train/causal/weight,val/causal/loss,val/causal/uniform
0,5.5,1.0,,
9,4.5,0.5,,
9,,,4.75,5.7
"""


def test_a_column_is_its_filled_rows() -> None:
    rows = [{"step": "0", "a": "1.5"}, {"step": "3", "a": ""}, {"step": "7", "a": "nan"}, {"step": "8"}]
    steps, values = read_column(rows, "a")
    assert steps == [0, 7]
    assert values[0] == 1.5 and values[1] != values[1]


def test_lines_are_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the numbers of the table above, read back out of the figure."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
    (tmp_path / "metrics.csv").write_text(TABLE, encoding="utf-8")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", {"causal": ("uniform", "unigram")}, "a run")
    losses, weights = figures[0].axes
    lines = {str(line.get_label()): [list(line.get_xdata()), list(line.get_ydata())] for line in losses.lines}
    assert lines["training"] == [[0, 9], [5.5, 4.5]]
    assert lines["held out"] == [[9], [4.75]]
    assert lines["uniform"][1] == [5.7, 5.7]
    assert "unigram" not in lines  # it was not measured
    assert "nats" in losses.get_ylabel()
    [weight] = weights.lines
    assert (weight.get_label(), list(weight.get_ydata())) == ("causal", [1.0, 0.5])
    assert figures[0].get_suptitle() == "a run"
    assert imread(tmp_path / "curves.png").std() > 0


def test_weights_that_stay_have_no_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: figures.append(self))
    (tmp_path / "metrics.csv").write_text(TABLE.replace("0.5", "1.0"), encoding="utf-8")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", {"causal": ()}, "a run")
    assert [axis.get_title() for axis in figures[0].axes] == ["causal"]


def test_a_run_leaves_its_picture_beside_its_table(text: Path, tmp_path: Path) -> None:
    fit(text, tmp_path, [Curves()], logger=RunCSVLogger(str(tmp_path)), max_steps=2)
    assert (tmp_path / "metrics.csv").is_file()
    assert imread(tmp_path / "curves.png").ndim == 3


def test_a_run_without_a_table_has_none(text: Path, tmp_path: Path) -> None:
    fit(text, tmp_path, [Curves()], max_steps=1)
    assert not (tmp_path / "curves.png").exists()
