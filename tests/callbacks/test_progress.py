"""The progress bar, and the lines that stand in for it where the output is no terminal."""

import re
import sys
from pathlib import Path

import lightning.pytorch as L
import pytest
from utils.callback_runs import fit

from lm_objectives.callbacks.progress import Progress

LINE = re.compile(
    r"step (\d+)/(\d+)  causal (\d\.\d{3}) masked (\d\.\d{3}) order (\d\.\d{3})  [\d,]+ tokens/s  \d+:\d\d left"
)


class LastBar(Progress):
    """Keeps what the bar showed when training ended."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._bar is not None
        self.shown, self.bounds = str(self._bar), (self._bar.initial, self._bar.n, self._bar.total)
        super().on_train_end(trainer, pl_module)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ten_lines_without_a_terminal(
    accumulate: int, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the losses of the last step as the module measured them."""
    _, module = fit(text, tmp_path, [Progress()], max_steps=20, accumulate_grad_batches=accumulate)
    found = [LINE.fullmatch(line) for line in capsys.readouterr().err.splitlines()]
    assert all(found)
    assert [(int(m[1]), int(m[2])) for m in found if m] == [(step, 20) for step in range(2, 21, 2)]
    last = found[-1]
    assert last is not None and module.last_step is not None
    assert [last[n] for n in (3, 4, 5)] == [f"{loss:.3f}" for loss in module.last_step.losses.tolist()]
    assert last[0].endswith(" 0:00 left")


def test_a_bar_on_a_terminal(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = LastBar()
    fit(text, tmp_path, [progress], max_steps=4)
    assert progress.bounds == (0, 4, 4)
    assert "4/4" in progress.shown and re.search(r"causal \d\.\d{3} masked .* tokens/s", progress.shown)
    assert not LINE.search(capsys.readouterr().err)


def test_nothing_when_it_is_off(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.disable()
    fit(text, tmp_path, [progress], max_steps=2)
    assert capsys.readouterr().err == ""
