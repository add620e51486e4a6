"""A trained run opened without a Trainer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lm_objectives.data.cache import open_cache
from lm_objectives.training.run import load_run


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
    baselines = {name: list(run.module.validation.baselines[name]) for name in ("causal", "order", "replaced")}
    assert baselines == {
        "causal": ["uniform", "unigram", "unigram_perplexity", "commonest"],
        "order": ["base_rate", "majority"],
        "replaced": ["uniform", "unigram"],
    }


def test_a_checkpoint_without_its_tokenizer_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    """As a module without a Trainer and data writes it; one that was loaded still has it."""
    checkpoint = torch.load(tiny_run, weights_only=True)
    module = load_run(str(tiny_run)).module
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    assert load_run(str(tmp_path / "a.ckpt")).cache is None
    module.tokenizer_files = None
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"found none in it: save it from a Trainer that has the TextDataModule"):
        load_run(str(tmp_path / "a.ckpt"))
