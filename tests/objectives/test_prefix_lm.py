"""Prefix language modelling against the formula, and what a prefix sees."""

from dataclasses import replace

import pytest
import torch
from utils import tiny

from lm_objectives.objectives import CausalLM, PrefixLM


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_is_the_formula(family: str) -> None:
    """Oracle: each row alone, encoded with a mask written out token by token, in double precision."""
    on = tiny.backbone(family).double()
    objective = tiny.built(PrefixLM(), on).double()
    view = tiny.view(objective)
    assert view.prefix_lengths is not None
    weight = on.embedding if objective.lm_head is None else objective.lm_head.weight
    oracle = torch.zeros((), dtype=torch.double)
    for row, (prefix, length) in enumerate(zip(view.prefix_lengths.tolist(), view.lengths.tolist(), strict=True)):
        mask = torch.tensor([[key <= at or key < prefix for key in range(length)] for at in range(length)])
        hidden = on.model(input_ids=view.input_ids[row : row + 1, :length], attention_mask=mask[None, None])
        surprise = -(hidden.last_hidden_state[0] @ weight.T).log_softmax(-1)
        oracle = oracle + sum(surprise[at, view.input_ids[row, at + 1]] for at in range(prefix - 1, length - 1))
    tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
    torch.testing.assert_close(tiny.loss_sums(objective, on, view)["loss"], oracle, rtol=tolerance, atol=tolerance)


def test_a_prefix_of_one_token_is_next_token_prediction() -> None:
    """Oracle: `CausalLM` on the same rows."""
    on = tiny.backbone("llama")
    prefix, causal = tiny.built(PrefixLM(), on), tiny.built(CausalLM(), on)
    view = tiny.view(causal)
    one = replace(view, attention="prefix", prefix_lengths=torch.ones_like(view.lengths))
    torch.testing.assert_close(tiny.loss_sums(prefix, on, one), tiny.loss_sums(causal, on, view))


def test_settings_reach_the_corruption() -> None:
    corruption = PrefixLM(0.25, "[S]", "encoder-decoder").corruption
    assert (corruption.share, corruption.mode, corruption.layout) == (0.25, "[S]", "encoder-decoder")
