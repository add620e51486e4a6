"""Ranks that validate on unequal numbers of batches give the numbers of one process."""

from pathlib import Path

import pytest
from utils.exactness_kills import Training, settings
from utils.small_corpus import write_corpus


@pytest.mark.slow
def test_ranks_with_unequal_batches(tmp_path: Path) -> None:
    """Oracle: one process, to 1e-4. The first rank has five batches, the second three."""
    write_corpus(tmp_path / "corpus.jsonl")
    config = settings(
        tmp_path, "Fixed", global_batch_size=6, batch_multiple=2, validation_rows=13, seq_len=16, validation_share=0.5
    )
    config["model"]["backbone"]["config"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config["trainer"] |= {"accumulate_grad_batches": 1, "max_steps": 24, "val_check_interval": 12}
    one, two = (Training(tmp_path / name, config, ranks).run().table() for name, ranks in (("one", 1), ("two", 2)))
    held_out = [[row for row in rows if row["val/causal/loss"]] for rows in (one, two)]
    assert len(held_out[0]) == len(held_out[1]) == 2
    for here, there in zip(*held_out, strict=True):
        assert here.keys() == there.keys()
        for name in here:
            assert float(here[name] or 0) == pytest.approx(float(there[name] or 0), rel=1e-4, abs=1e-6), name
