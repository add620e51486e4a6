"""The example of docs/export.md, carried out, and its table against the corruptions."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from utils.families import VOCABULARY, view_of

import lm_objectives.objectives
from lm_objectives.export import export
from lm_objectives.training.run import load_run

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


def test_the_example_continues_a_prompt_and_scores_a_document(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: cross-entropy of our head's logits over the document's own tokens."""
    export(str(tiny_run), str(tmp_path / "out"))
    capsys.readouterr()
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code.replace("runs/quickstart_hf", str(tmp_path / "out")), {})
    *written, loss = capsys.readouterr().out.splitlines()
    assert written[0].startswith("[BOS] The state of the Union")

    run = load_run(str(tiny_run))
    ids = torch.tensor([run.tokenizer("Our Union is strong.")["input_ids"]])
    with torch.no_grad():
        [hidden] = run.module.backbone.encode([view_of(ids, "causal")])
        logits = hidden[0, :-1] @ run.module.backbone.embedding.T
    found = float(loss.removeprefix("tensor(").partition(",")[0])
    assert found == pytest.approx(float(F.cross_entropy(logits, ids[0, 1:])), abs=1e-4)


@pytest.mark.parametrize(
    "row", re.findall(r"^\| `(\w+)`.*\| (.*) \| (.*) \|$", PAGE, re.MULTILINE), ids=lambda row: row[0]
)
def test_the_table_says_what_stands_around_a_text(row: tuple[str, str, str]) -> None:
    name, one, two = row
    kind = getattr(lm_objectives.objectives, name)
    objective = kind(layout="encoder-decoder") if name == "PrefixLM" else kind()
    prefix, suffix = objective.corruption.prefix_and_suffix(VOCABULARY)
    names = {VOCABULARY.bos: "bos", VOCABULARY.eos: "eos"}
    end = [names[number] for number in suffix]
    begun = [*(names[number] for number in prefix), "text", *end]
    assert (one, two) == (" ".join(begun), " ".join([*begun, "text", *end]))
