"""A corpus for evaluations, and a decoder and two encoders with fresh weights that read it."""

from pathlib import Path

import pytest
from utils.evaluated_models import evaluated, write_sentences

from lm_objectives.evaluation.model import EvaluatedModel
from lm_objectives.objectives import CausalLM, MaskedLM


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("sentences") / "corpus.jsonl")


@pytest.fixture(scope="session")
def llama(sentences: Path) -> EvaluatedModel:
    return evaluated(sentences, "llama", {"causal": CausalLM()}, seed=1)


@pytest.fixture(scope="session")
def bert(sentences: Path) -> EvaluatedModel:
    return evaluated(sentences, "bert", {"masked": MaskedLM()}, seed=2)


@pytest.fixture(scope="session")
def shallow(sentences: Path) -> EvaluatedModel:
    """An encoder of one layer, which makes half the states."""
    return evaluated(sentences, "bert", {"masked": MaskedLM()}, seed=4, num_hidden_layers=1)
