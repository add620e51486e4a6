"""Next token against the formula and against Hugging Face's own loss."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM
from utils import tiny

from lm_objectives.objectives import CausalLM


@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("llama", False), ("bert", True), ("gpt2", True)])
def test_is_the_formula(family: str, tied: bool) -> None:
    """Oracle: log softmax over whole logits, in double precision, with all gradients."""
    on = tiny.backbone(family, tie_word_embeddings=tied).double()
    objective = tiny.built(CausalLM(), on).double()
    assert (objective.lm_head is None) == tied
    view = tiny.view(objective)
    [hidden] = on.encode([view])
    weight = on.embedding if objective.lm_head is None else objective.lm_head.weight
    surprise = -(hidden @ weight.T).log_softmax(-1)
    oracle = sum(
        surprise[row, position, view.input_ids[row, position + 1]]
        for row, length in enumerate(view.lengths)
        for position in range(int(length) - 1)
    )
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)
    tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
    for own, other in zip(tiny.gradients(ours, on, objective), tiny.gradients(oracle, on, objective), strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("tied", [True, False])
def test_is_hugging_faces_loss_of_the_same_weights(tied: bool) -> None:
    """Oracle: LlamaForCausalLM, which shifts labels itself and takes the mean; padding is labelled -100."""
    on = tiny.backbone("llama", tie_word_embeddings=tied)
    objective = tiny.built(CausalLM(), on)
    theirs = AutoModelForCausalLM.from_config(on.config, attn_implementation="sdpa")
    theirs.model.load_state_dict(on.model.state_dict())
    if objective.lm_head is not None:
        theirs.lm_head.load_state_dict(objective.lm_head.state_dict())
    view = tiny.view(objective)
    real = torch.arange(tiny.WINDOW) < view.lengths[:, None]
    oracle = theirs(input_ids=view.input_ids, attention_mask=real, labels=view.input_ids.masked_fill(~real, -100)).loss
    assert tiny.loss(objective, on, view).item() == pytest.approx(oracle.item(), rel=1e-6)


def test_initial_loss_is_ln_v() -> None:
    """Oracle: ln 30522 = 10.3262, and a fresh model within 0.02 of it."""
    on = tiny.backbone("llama", 30522)
    objective = tiny.built(CausalLM(), on)
    assert objective.initial_loss() == pytest.approx(10.3262, abs=1e-4)
    view = tiny.view(objective, 40, 30522)
    assert tiny.loss(objective, on, view).item() == pytest.approx(10.3262, abs=0.02)


def test_head_of_its_own_where_the_embedding_is_narrower() -> None:
    """ELECTRA's embedding is narrower than its states, which a tied head could not read."""
    on = tiny.backbone("electra", embedding_size=16)
    objective = tiny.built(CausalLM(), on)
    assert objective.lm_head is not None and objective.lm_head.weight.shape == (67, 32)
    assert tiny.loss(objective, on, tiny.view(objective, 40)).item() == pytest.approx(math.log(67), abs=0.05)


def test_observes_accuracy() -> None:
    """Oracle: argmax over whole logits."""
    on = tiny.backbone("llama")
    objective = tiny.built(CausalLM(), on).eval()
    view = tiny.view(objective)
    [hidden] = on.encode([view])
    observed = objective.compute_loss(hidden, view, on.embedding).metric_inputs
    likeliest = (hidden @ on.embedding.T).argmax(-1).flatten()[view.label_positions]
    assert torch.equal(observed["accuracy"][0], (likeliest == view.targets).float())
