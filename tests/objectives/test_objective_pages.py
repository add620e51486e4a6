"""Every example of docs/objectives: its configurations train, and print the rows that stand below them."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from utils.page_examples import batch_of, module_of, render

from lm_objectives import objectives
from lm_objectives.objectives import ClassificationObjective, LanguageModelObjective, Objective
from lm_objectives.objectives.base import combine_losses
from lm_objectives.plugin import from_config, to_config

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "objectives").glob("*.md"))}
CONFIGS = [
    pytest.param(text, id=name)
    for name, page in PAGES.items()
    for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
]
EXAMPLES = [
    pytest.param(*pair, id=name)
    for name, page in PAGES.items()
    for pair in re.findall(r"```yaml\n((?:(?!```).)*)```\n\n```text\n(row .*?)```", page, re.DOTALL)
]
BASES = (Objective, ClassificationObjective, LanguageModelObjective)
KINDS = [kind for kind in vars(objectives).values() if isinstance(kind, type)]
LEAVES = [kind for kind in KINDS if issubclass(kind, Objective) and kind not in BASES]


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
        assert to_config(from_config(to_config(objective))) == to_config(objective)
    views = batch_of(module, range(4)).views
    for name, outcome in module.forward_views(views).items():
        objective = module.objectives[name]
        loss = combine_losses(objective.loss_weights, outcome.loss_sums, views[name].counts)
        assert loss.item() == pytest.approx(objective.initial_loss(), rel=0.3)
        loss.backward(retain_graph=True)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("kind", LEAVES)
def test_every_objective_has_its_page_with_all_settings(kind: type[Objective]) -> None:
    """Oracle: the constructor's signature; a page is named as the objective's module and begins with all arguments."""
    page = f"{kind.__module__.rpartition('.')[2]}.md"
    assert re.match(rf"# [^\n]*`{kind.__name__}`\n", PAGES[page])
    parameters = inspect.signature(kind).parameters.values()
    own = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
    settings = re.findall(r"```yaml\n(.*?)```", PAGES[page], re.DOTALL)[0]
    first: Any = next(iter(yaml.safe_load(settings)["model"]["objectives"].values()))
    assert first == ({"class_path": kind.__name__, "init_args": own} if own else kind.__name__)
    assert f"| [`{kind.__name__}`](docs/objectives/{page}) |" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| [`{kind.__name__}`]({page}) | `{corruption_of(kind)}` |" in PAGES["README.md"]


def corruption_of(kind: type[Objective]) -> str:
    return type(kind().corruption).__name__


def test_every_page_is_of_an_objective() -> None:
    assert set(PAGES) == {"README.md", *(f"{kind.__module__.rpartition('.')[2]}.md" for kind in LEAVES)}
