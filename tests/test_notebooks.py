"""Notebooks are stored clean, run from any folder, and show what their text says.

Oracles: counts of scored positions worked out by hand from each corruption's rule, and the losses of guessing, ln V and
ln 2.
"""

import json
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
_TOLD = """
import json
held_out = {name: read_column(rows, f"val/{name}/loss")[1] for name in run.names}
fresh_losses = {f"{name}/{part}": nats for (name, part), nats in fresh.items()}
print(json.dumps({"fresh": fresh_losses, "vocabulary": vocabulary.size, "held_out": held_out}))
"""

Execute = Callable[[str], tuple[NotebookNode, Path]]


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Execute:
    """Runs a notebook once, in an empty folder, with a cell at the end that tells its numbers."""

    @cache
    def run(name: str) -> tuple[NotebookNode, Path]:
        folder, notebook = tmp_path_factory.mktemp(name), read(name)
        if name == "four_views":
            notebook.cells.append(nbformat.v4.new_code_cell(_TOLD, id="told"))
        client = NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
        return notebook, folder

    return run


def outputs(notebook: NotebookNode, cell: str, kind: str) -> list[Any]:
    """What a cell showed, of one MIME type."""
    [found] = [c for c in notebook.cells if c.id == cell]
    return [output.data[kind] for output in found.outputs if kind in output.get("data", {})]


def printed(notebook: NotebookNode, cell: str) -> str:
    [found] = [c for c in notebook.cells if c.id == cell]
    return "".join(output.text for output in found.outputs if output.output_type == "stream")


def cells_of(page: str, color: str) -> list[str]:
    """The words in a table's cells of one color."""
    return re.findall(rf"<td style='background:{color};[^>]*>([^<]*)</td>", page)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_anywhere_and_leaves_nothing_behind(name: str, execute: Execute) -> None:
    _, folder = execute(name)
    assert list(folder.iterdir()) == []


# Two rows of 20 tokens: all but the last of each; round(.3 x 20) each; one for each pair; round(.15 x 20) each; all.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "scored"), [("causal", [38]), ("masked", [12]), ("order", [2]), ("replaced", [6, 40])]
)
def test_each_view_colors_what_is_scored(cell: str, scored: list[int], execute: Execute) -> None:
    pages = outputs(execute("four_views")[0], cell, "text/html")
    assert [len(cells_of(page, "#a9d8a0")) for page in pages] == scored


@pytest.mark.slow
def test_colors_tell_masked_replaced_segments_and_padding(execute: Execute) -> None:
    notebook, _ = execute("four_views")
    [causal], [masked] = outputs(notebook, "causal", "text/html"), outputs(notebook, "masked", "text/html")
    [order], [before, after] = outputs(notebook, "order", "text/html"), outputs(notebook, "replaced", "text/html")
    assert set(re.findall("background:(#[0-9a-f]+)", causal)) == {"#a9d8a0"}
    assert set(cells_of(masked, "#f4b183")) == {"[MASK]"}
    assert set(cells_of(masked, "#e3a5d6")).isdisjoint({"[MASK]"}) and cells_of(masked, "#e3a5d6")
    assert set(cells_of(order, "#cccccc")) == {"[PAD]"}
    assert cells_of(order, "#bcd7f2")[0] == "[BOS]" and cells_of(order, "#f5e6a1")[-1] == "[EOS]"
    assert set(cells_of(before, "#f4b183")) == {"[MASK]"} and not cells_of(after, "#f4b183")
    assert len(cells_of(after, "#e3a5d6")) == cells_of(after, "#a9d8a0").count("replaced") > 0


@pytest.mark.slow
def test_a_fresh_model_guesses_and_a_run_leaves_that_behind(execute: Execute) -> None:
    notebook, _ = execute("four_views")
    told = json.loads(printed(notebook, "told"))
    token, coin = math.log(told["vocabulary"]), math.log(2)
    guesses = {
        "causal/loss": token,
        "masked/loss": token,
        "order/loss": coin,
        "replaced/generator": token,
        "replaced/discriminator": coin,
    }
    assert told["fresh"] == pytest.approx(guesses, rel=0.02)
    assert max(told["held_out"]["causal"][-1], told["held_out"]["masked"][-1]) < token - 0.5
    assert told["held_out"]["replaced"][-1] < token + 10 * coin - 1
    assert printed(notebook, "pure") == "the same row\n"


@pytest.mark.slow
def test_the_curves_are_drawn(execute: Execute) -> None:
    [picture] = outputs(execute("four_views")[0], "curves", "image/png")
    assert picture.startswith("iVBORw0KGgo")  # a PNG's first bytes in base64


@pytest.mark.slow
def test_two_mixes_are_compared_in_a_sentence_and_a_picture(execute: Execute) -> None:
    """An arm that never saw a next token reads it worse, as the text says."""
    notebook, _ = execute("two_mixes")
    told = printed(notebook, "study")
    assert "\nmixed better than masked on held_out, read as masked: " in told
    assert "\nmixed better than masked on held_out, read as causal: yes, by " in told
    assert "swaps" in printed(notebook, "readings")
    [picture] = outputs(notebook, "seeds", "image/png")
    assert picture.startswith("iVBORw0KGgo")
