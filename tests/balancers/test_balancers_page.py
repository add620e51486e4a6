"""Every example of docs/balancers.md, carried out."""

import re
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
import yaml
from utils.balancer_cases import INITIAL

import lm_objectives.balancers as balancers
from lm_objectives.balancers import Balancer, StepStatistics, TorchJD
from lm_objectives.plugin import to_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "balancers.md").read_text(encoding="utf-8")
CONFIGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
NAMES = ("causal", "masked", "order", "replaced")


def build(text: str) -> Balancer:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--model.balancer", type=Balancer)
    return parser.instantiate_classes(parser.parse_string(text)).model.balancer


@pytest.mark.parametrize("text", CONFIGS)
def test_configs_build_what_they_name_and_it_survives_description(text: str) -> None:
    if "TorchJD" in text:
        pytest.importorskip("torchjd")
    balancer = build(text)
    asked: Any = yaml.safe_load(text)["model"]["balancer"]
    assert type(balancer).__name__ == (asked if isinstance(asked, str) else asked["class_path"])
    names = ("causal", "masked", "order") if "ByDifficulty" in text else NAMES
    balancer.setup(names, torch.ones(len(names)), 1000)
    assert balancer.weights(0).isfinite().all()
    assert to_config(balancer)["class_path"].endswith(type(balancer).__name__)


def test_every_balancer_has_its_place_on_the_page() -> None:
    kinds = [getattr(balancers, name) for name in balancers.__all__]
    leaves = [kind for kind in kinds if issubclass(kind, Balancer) and kind is not Balancer]
    assert TorchJD in leaves
    for kind in leaves:
        assert f"| `{kind.__name__}` |" in PAGE and re.search(rf"^## {kind.__name__}\b", PAGE, re.MULTILINE)


def test_your_own_balancer_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file of a user's own folder: its formula, losses of another precision, an absent objective, a resume."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "inverse.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    balancer, resumed = (build("model: {balancer: inverse.InverseLoss}") for _ in range(2))
    balancer.setup(("causal", "masked", "order"), INITIAL, 10)
    told = StepStatistics(0, torch.tensor([4.0, 2.0, torch.nan]), torch.tensor([True, True, False]))
    balancer.update(told)
    smoothed = torch.tensor([0.9 * 8 + 0.1 * 4, 0.9 * 8 + 0.1 * 2, 0.7], dtype=torch.double)
    torch.testing.assert_close(balancer.weights(1), 1 / smoothed / (1 / smoothed).mean())
    resumed.setup(("causal", "masked", "order"), INITIAL, 10)
    resumed.load_state_dict(balancer.state_dict())
    assert torch.equal(resumed.weights(1), balancer.weights(1))


def test_readme_shows_the_same_balancer() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code in README
