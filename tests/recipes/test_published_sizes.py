"""Published sizes, counted in shapes alone, are those of the papers."""

from pathlib import Path

import pytest
import yaml
from utils.recipe_cases import PUBLISHED, RECIPES, module_of, settings

from lm_objectives import Pretraining
from lm_objectives.objectives import ReplacedToken
from lm_objectives.views import Vocabulary

# Millions of parameters. GPT-2 small: as its code says, where the paper's 117 are GPT's. RoBERTa and BART: fairseq's
# pages of their models. Touvron et al. 2023, table 2; Devlin et al. 2019, section 3; Lan et al. 2020, table 1; Clark
# et al. 2020, table 1; Raffel et al. 2020, section 3.1.1. GPT-BERT's 119 hold a gate of 768² in each of 12 layers.
MILLIONS = {
    "albert": 12,
    "bart": 140,
    "bert": 110,
    "electra": 14,
    "gpt": 124,
    "gpt_bert": 119 - 12 * 0.768**2,
    "llama": 6740,
    "roberta": 125,
    "t5": 220,
    "ul2_t5": 19500,
}


def made(name: str) -> Pretraining:
    """The published size in shapes alone."""
    read = settings(RECIPES[name], PUBLISHED[name])
    module = module_of(read["model"])
    window = read["data"]["seq_len"]
    largest = window if isinstance(window, int) else max(tokens for _, tokens in window)
    tokens = sorted({t for source in module.sources.values() for t in source.corruption.special_tokens(largest)})
    size = read["data"]["tokenizer"]
    named = tuple((token, size - 1 - number) for number, token in enumerate(tokens))
    vocabulary = Vocabulary(size, pad=0, bos=1, eos=2, mask=3, special=(0, 1, 2, 3), named_tokens=named)
    module.build(vocabulary, largest, read["trainer"]["max_steps"], "meta")
    return module


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    module = made(name)
    counted = {id(p): p.numel() for p in module.parameters()}
    for objective in module.objectives.values():
        if isinstance(objective, ReplacedToken):  # what the generator has of its own is not counted
            for part in (objective.generator, objective.transform):
                counted |= {id(p): 0 for p in part.parameters()}
    assert all(p.is_meta for p in module.parameters())
    assert sum(counted.values()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.035)


def test_what_is_published_is_here() -> None:
    """UL2's decoder alone has no table of sizes, and the mix of three objectives no paper."""
    assert set(MILLIONS) == set(PUBLISHED) == set(RECIPES) - {"llama_mix", "ul2"}


@pytest.mark.parametrize("path", PUBLISHED.values(), ids=lambda path: path.stem)
def test_only_sizes_and_rates_are_laid_over(path: Path) -> None:
    """Objectives and balancer are the recipe's."""
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert own.keys() == {"trainer", "model", "data"}
    assert own["model"].keys() <= {"backbone", "optimizer", "lr_schedule"} and own["model"]["backbone"].keys() == {
        "config"
    }
    recipe, over = settings(RECIPES[path.stem]), settings(RECIPES[path.stem], path)
    assert recipe["model"]["objectives"] == over["model"]["objectives"]
    kinds = [read["model"]["optimizer"]["class_path"].rpartition(".")[2] for read in (recipe, over)]
    assert kinds[1] in ("AdamW", "Adafactor") and kinds[0] in (kinds[1], "Muon")
    assert (
        own["model"].get("optimizer", {}).get("init_args", {}).keys() >= {"lr", "betas", "eps"} or kinds[0] == kinds[1]
    )
    assert recipe["model"]["lr_schedule"]["kind"] == over["model"]["lr_schedule"]["kind"]
