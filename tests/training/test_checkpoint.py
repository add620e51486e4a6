"""Reading checkpoints: nothing in them is executed, and another model's are told apart."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_objectives.data.cache import open_cache
from lm_objectives.training.checkpoint import check_same_shapes, read_checkpoint
from lm_objectives.training.run import load_run


class Trap:
    """What a pickle runs when it is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def test_a_pickle_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"lm_objectives": Trap()}))
    with pytest.raises(ValueError, match="found a file of another kind"):
        read_checkpoint("bad.ckpt")
    torch.save({"lm_objectives": Trap()}, tmp_path / "worse.ckpt")
    with pytest.raises(ValueError, match="found a file of another kind"):
        load_run("worse.ckpt")
    assert not (tmp_path / "trapped").exists()


def test_the_first_difference_is_named() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(3, 4)}
    check_same_shapes(own, {name: tensor.clone() for name, tensor in own.items()})
    with pytest.raises(ValueError, match=r"b is \(3, 4\) in the model and \(3, 5\) in the checkpoint"):
        check_same_shapes(own, own | {"b": torch.zeros(3, 5)})
    with pytest.raises(ValueError, match=r"c is nothing in the model and \(1,\) in the checkpoint"):
        check_same_shapes(own, own | {"c": torch.zeros(1)})


def test_a_run_that_is_opened_without_a_corpus_has_its_baselines(tiny_run: Path) -> None:
    """Oracle: the training text of the run. In packed rows of 32 each token is a target once, but for bos and the first
    of each window.
    """
    run = load_run(str(tiny_run))
    text = open_cache(run.cache).training
    first = np.zeros(len(text.tokens), dtype=bool)
    first[::32] = True
    first[np.asarray(text.documents[:-1])] = True
    oracle = np.bincount(np.asarray(text.tokens)[~first])
    assert run.module.objectives["causal"].target_counts.tolist() == oracle.tolist()
    baselines = {name: list(run.module.baselines[name]) for name in ("causal", "order", "replaced")}
    assert baselines == {
        "causal": ["uniform", "unigram", "unigram_perplexity", "commonest"],
        "order": ["base_rate", "majority"],
        "replaced": ["uniform", "unigram"],
    }
