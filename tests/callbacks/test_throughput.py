"""Tokens a second and FLOPs of whole runs against closed formulas."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.callbacks import Callback
from utils.callback_runs import fit, three
from utils.small_corpus import BACKBONE, WINDOW

from lm_objectives.callbacks.throughput import Throughput
from lm_objectives.objectives import MaskedLM, Objective, SentenceOrder


class Totals(Callback):
    """Rows and scored positions of each objective over a run, and the numbers logged."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.scored: dict[str, int] = {}
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, view in batch.views.items():
            self.rows[name] = self.rows.get(name, 0) + len(view.input_ids)
            self.scored[name] = self.scored.get(name, 0) + len(view.label_positions)
        self.logged.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def backbone_flops(rows: int) -> int:
    """2·N·tokens for the N weights of the blocks' matrices, and 4·time²·dim a layer for scores and values."""
    d, f, layers = BACKBONE["hidden_size"], BACKBONE["intermediate_size"], BACKBONE["num_hidden_layers"]
    return rows * layers * (2 * (4 * d * d + 3 * d * f) * WINDOW + 4 * WINDOW * WINDOW * d)


def head_flops(module: Any, name: str, scored: int) -> int:
    """2·N for each position that a head's matrices see; a vocabulary head is the tied embedding, on top of them."""
    own = sum(p.numel() for p in module.objectives[name].parameters() if p.ndim == 2)
    tied = module.backbone.embedding.numel() if name in ("causal", "masked") else 0
    return 2 * scored * (own + tied)


def run(text: Path, root: Path, objectives: dict[str, Objective], **settings: Any) -> tuple[Totals, Any]:
    totals = Totals()
    _, module = fit(text, root, [Throughput(), totals], objectives=objectives, max_steps=2, **settings)
    return totals, module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_three_times_the_forward_arithmetic(accumulate: int, text: Path, tmp_path: Path) -> None:
    totals, module = run(text, tmp_path, three(), accumulate_grad_batches=accumulate)
    expected = sum(
        backbone_flops(totals.rows[name]) + head_flops(module, name, totals.scored[name]) for name in module.names
    )
    assert totals.logged[-1]["train/flops"] == 3 * expected


def test_a_shared_view_costs_one_pass(text: Path, tmp_path: Path) -> None:
    totals, module = run(text, tmp_path, {"order": SentenceOrder(), "masked": MaskedLM(shares_rows_with="order")})
    assert totals.rows["order"] == totals.rows["masked"]
    heads = sum(head_flops(module, name, totals.scored[name]) for name in module.names)
    expected = 3 * (backbone_flops(totals.rows["order"]) + heads)
    assert totals.logged[-1]["train/flops"] == expected


def test_speed_is_that_of_the_steps_since_the_line_before(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: a clock that goes on by 2 s with each look."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("lm_objectives.callbacks.throughput.time.monotonic", lambda: float(next(clock)))
    totals, _ = run(text, tmp_path, three())
    before = 0.0
    for logged in totals.logged:
        assert logged["train/tokens_per_second"] == pytest.approx((logged["train/tokens"] - before) / 2)
        before = logged["train/tokens"]


def test_a_resumed_run_counts_on(text: Path, tmp_path: Path) -> None:
    """Oracle: the run that was left alone."""
    half, rest, whole = Throughput(), Throughput(), Throughput()
    trainer, _ = fit(text, tmp_path, [half], max_steps=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    fit(text, tmp_path, [rest], max_steps=2, resume=tmp_path / "half.ckpt")
    fit(text, tmp_path, [whole], max_steps=2)
    assert rest.state_dict() == whole.state_dict() != half.state_dict()
