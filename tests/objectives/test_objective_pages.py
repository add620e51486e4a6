"""Every example of docs/objectives: its configurations train, and print the rows that stand below them."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from page_examples import batch_of, module_of, objectives_of, render

from lm_objectives import objectives
from lm_objectives.objectives import Objective
from lm_objectives.objectives.base import loss_of
from lm_objectives.plugin import describe, rebuild

torch.set_num_threads(1)
PAGES = {
    page.name: page.read_text(encoding="utf-8")
    for page in sorted((Path(__file__).parents[2] / "docs" / "objectives").glob("*.md"))
}
CONFIGS = [pytest.param(text, id=name) for name, page in PAGES.items() for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
EXAMPLES = [
    pytest.param(*pair, id=name)
    for name, page in PAGES.items()
    for pair in re.findall(r"```yaml\n((?:(?!```).)*)```\n\n```text\n(row .*?)```", page, re.DOTALL)
]
LEAVES = [kind for kind in map(vars(objectives).get, objectives.__all__) if isinstance(kind, type)]
LEAVES = [kind for kind in LEAVES if issubclass(kind, Objective) and kind is not Objective]


@pytest.mark.parametrize(("config", "printed"), EXAMPLES)
def test_rows_are_what_stands_on_the_page(config: str, printed: str) -> None:
    """Oracle: the rows of a run with these objectives on the pages' text."""
    module = module_of(config)
    assert "\n".join(render(module, int(k)) for k in re.findall(r"^row (\d+)$", printed, re.MULTILINE)) == printed


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_train_and_survive_description(config: str) -> None:
    """Oracle: the loss of a model that knows nothing; T5's fresh logits cost up to a nat more."""
    module = module_of(config)
    for name, asked in yaml.safe_load(config)["model"]["objectives"].items():
        objective: Any = module.objectives[name]
        assert type(objective).__name__ == (asked if isinstance(asked, str) else asked["class_path"])
        assert describe(rebuild(describe(objective))) == describe(objective)
    views = batch_of(module, range(4)).views
    for name, outcome in module.outcomes(views).items():
        objective = module.objectives[name]
        loss = loss_of(objective.parts, outcome.sums, views[name].counts)
        assert loss.item() == pytest.approx(objective.initial_loss(), rel=0.3)
        loss.backward(retain_graph=True)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("kind", LEAVES)
def test_every_objective_has_its_section_with_all_settings(kind: type[Objective]) -> None:
    """Oracle: the constructor's signature; a section begins with all of its arguments at their defaults."""
    [section] = re.findall(rf"^## [^\n]*`{kind.__name__}`\n(.*?)(?=^## |\Z)", "\n".join(PAGES.values()), re.DOTALL | re.MULTILINE)
    settings = [text for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL) if kind.__name__ in text]
    own = list(inspect.signature(kind).parameters.values())
    expected = {parameter.name: parameter.default for parameter in own if parameter.kind is not parameter.VAR_KEYWORD}
    [asked] = [yaml.safe_load(settings[0])["model"]["objectives"].values()] if settings else [[]]
    assert expected in [each.get("init_args") for each in asked if isinstance(each, dict)] or not expected
    assert settings and type(next(iter(objectives_of(settings[0]).values()))) is kind
