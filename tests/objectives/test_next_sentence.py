"""Next sentence against BERT's own head, and masked tokens on the same rows."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForPreTraining
from utils import tiny

from lm_objectives.objectives import NextSentence


def test_is_berts_head_of_the_same_weights() -> None:
    """Oracle: `BertForPreTraining`, whose label 0 says that the second segment is the next."""
    on = tiny.backbone("bert").eval()
    objective = NextSentence()
    tiny.built(objective, on)
    theirs = AutoModelForPreTraining.from_config(on.config, attn_implementation="sdpa").eval()
    theirs.bert.load_state_dict(on.model.state_dict(), strict=False)
    theirs.bert.pooler.dense.load_state_dict(objective.dense.state_dict())
    theirs.cls.seq_relationship.load_state_dict(objective.classifier.state_dict())
    view = tiny.view(objective, 30)
    real = (torch.arange(tiny.WINDOW) < view.lengths[:, None]).long()
    logits = theirs(
        input_ids=view.input_ids, attention_mask=real, token_type_ids=view.token_type_ids
    ).seq_relationship_logits
    oracle = F.cross_entropy(logits, view.targets, reduction="sum")
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle, rtol=1e-6, atol=1e-6)
    gradients = tiny.gradients(ours, objective)
    pooler, head = theirs.bert.pooler.dense, theirs.cls.seq_relationship
    for own, other in zip(gradients, tiny.gradients(oracle, pooler, head), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)


def test_initial_loss_is_that_of_a_coin() -> None:
    assert NextSentence().initial_loss() == pytest.approx(math.log(2))
