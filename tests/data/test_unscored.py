"""A text of which an objective scores nothing is refused before the training."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from utils.row_cases import SETTINGS, SOURCES, VOCABULARY, write

from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.data.dataset import RowDataset, check_scored
from lm_objectives.data.plan import ObjectiveRows
from lm_objectives.views import Rows, View, Vocabulary


@dataclass(frozen=True)
class LateMasking(TokenMasking):
    """Masks nothing before step 50."""

    step: int = 0

    def at_step(self, step: int, steps: int) -> Corruption:
        del steps
        return replace(self, step=step)

    def corrupt(self, rows: Rows, vocabulary: Vocabulary) -> View:
        lengths = rows.lengths if self.step >= 50 else np.zeros_like(rows.lengths)
        return super().corrupt(replace(rows, lengths=lengths), vocabulary)


def test_sources_that_score_pass(tmp_path: Path) -> None:
    check_scored(RowDataset(write(tmp_path, 20), SOURCES, VOCABULARY, SETTINGS, "training"))


def test_an_objective_that_scores_later_passes(tmp_path: Path) -> None:
    sources = {"masked": ObjectiveRows(LateMasking(0.5))}
    check_scored(RowDataset(write(tmp_path, 20), sources, VOCABULARY, replace(SETTINGS, steps=100), "training"))
    with pytest.raises(ValueError, match="that objective masked can score"):
        check_scored(RowDataset(write(tmp_path, 20), sources, VOCABULARY, replace(SETTINGS, steps=40), "training"))


@pytest.mark.parametrize("name", ["masked", "hidden"])
def test_a_text_of_special_tokens_alone_is_one_clear_line(name: str, tmp_path: Path) -> None:
    """As where a tokenizer knows no letter of a language: every token is unknown, and none is ever masked."""
    text = write(tmp_path, 20)
    nothing = replace(VOCABULARY, special=tuple(range(80)))
    sources = {host: SOURCES[host] for host in ({"masked"} if name == "masked" else {"order", "hidden"})}
    with pytest.raises(
        ValueError, match=f"^expected text that objective {name} can score, found no position"
    ) as caught:
        check_scored(RowDataset(text, sources, nothing, SETTINGS, "training"))
    assert "\n" not in str(caught.value)
