"""Every example of docs/corruptions.md, carried out."""

import re
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import yaml

from lm_objectives import objectives
from lm_objectives.objectives import Objective
from lm_objectives.plugin import describe, rebuild

PAGE = (Path(__file__).parents[2] / "docs" / "corruptions.md").read_text(encoding="utf-8")
CONFIGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL)


def test_examples_print_what_stands_below_them(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    for code, printed in EXAMPLES:
        exec(code, scope)
        assert capsys.readouterr().out == printed
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("text", CONFIGS)
def test_configs_build_what_they_name_and_it_survives_description(text: str) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    made = parser.instantiate(parser.parse_string(text)).objectives
    for name, asked in yaml.safe_load(text)["objectives"].items():
        assert type(made[name]).__name__ == (asked if isinstance(asked, str) else asked["class_path"])
        assert rebuild(describe(made[name])).corruption == made[name].corruption


def test_every_objective_has_its_place_on_the_page() -> None:
    kinds = [getattr(objectives, name) for name in objectives.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Objective) and kind is not Objective:
            assert f"| `{kind.__name__}` |" in PAGE
