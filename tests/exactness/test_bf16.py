"""Every objective and every optimizer in bf16-mixed: no step is skipped, and the weights stay in single precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from utils.families import FAMILIES, SEQ2SEQ

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    Objective,
    PrefixLM,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.optim import TESTED_OPTIMIZERS

CASES: dict[str, tuple[str, Callable[[], dict[str, Objective]]]] = {
    "llama": (
        "llama",
        lambda: {"causal": CausalLM(z_loss=1e-4), "order": SentenceOrder(), "replaced": ReplacedToken()},
    ),
    "prefix": ("llama", lambda: {"prefix": PrefixLM(), "spans": SpanDenoising(layout="prefix")}),
    "previous": ("gpt2", lambda: {"masked": MaskedLM(predict_from="previous")}),
    "bert": ("bert", lambda: {"next": NextSentence(), "masked": MaskedLM(shares_rows_with="next")}),
    "albert": ("albert", lambda: {"order": SentenceOrder(), "masked": MaskedLM(shares_rows_with="order")}),
    "electra": ("electra", lambda: {"replaced": ReplacedToken()}),
    "t5": ("t5", lambda: {"spans": SpanDenoising(), "masked": MaskedLM()}),
    "bart": ("bart", lambda: {"text": TextDenoising(), "spans": SpanDenoising()}),
}


def check(checkpoint: Any) -> None:
    """No step was skipped, which one with a loss or a gradient that is not finite is, and nothing was rounded."""
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["global_step"] == 2 and saved["lm_objectives"]["steps_skipped"] == 0
    tensors = {name: value for name, value in saved["state_dict"].items() if isinstance(value, torch.Tensor)}
    for name, value in tensors.items():
        assert not value.is_floating_point() or (value.dtype == torch.float32 and value.isfinite().all()), name
    assert any((value.bfloat16().float() != value).any() for value in tensors.values() if value.is_floating_point())


@pytest.mark.parametrize("name", CASES)
def test_every_objective(name: str, train: Any) -> None:
    family, objectives = CASES[name]
    check(train(Backbone(family, (FAMILIES | SEQ2SEQ)[family]), objectives(), precision="bf16-mixed"))


@pytest.mark.parametrize("kind", TESTED_OPTIMIZERS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_every_optimizer(family: str, kind: Any, train: Any) -> None:
    """GPT-2's matrices lie transposed, and T5's positions are a table that does not decay."""
    objectives = {"spans": SpanDenoising()} if family == "t5" else {"causal": CausalLM()}
    backbone = Backbone(family, (FAMILIES | SEQ2SEQ)[family])
    check(train(backbone, objectives, lambda parameters: kind(parameters, lr=0.01), precision="bf16-mixed"))
