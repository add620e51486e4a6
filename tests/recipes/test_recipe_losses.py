"""The total of a recipe's step is the published sum, added up by hand over one pass for each objective.

Oracle: the means of `F.cross_entropy` and its like over whole logits, in double precision, before the first step.
"""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from utils.recipe_cases import RECIPES, module_of, settings
from utils.small_corpus import write_corpus

from lm_objectives import Pretraining, TextDataModule
from lm_objectives.views import View


class FirstBatch(Callback):
    """A hand-made total of the batch of the first step, and the one that was trained on."""

    def __init__(self, by_hand: Any) -> None:
        self.by_hand, self.expected, self.found = by_hand, 0.0, 0.0

    @torch.no_grad()
    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        del trainer, batch_idx
        self.expected = float(self.by_hand(pl_module, batch.views))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        del trainer, pl_module, batch, batch_idx
        self.found = float(outputs["loss"])


def states(module: Pretraining, view: View, attention: str) -> Tensor:
    """Hidden states of one view by the bare model, under a mask made by hand."""
    time = view.input_ids.shape[1]
    sees = (torch.arange(time) < view.lengths[:, None])[:, None, :].expand(-1, time, -1)
    if view.position_ids is not None:  # a document's part of a row sees itself alone
        part = (view.position_ids == 0).cumsum(1)
        sees = sees & (part[:, :, None] == part[:, None, :])
    if attention == "causal":
        sees = sees & torch.ones(time, time, dtype=torch.bool).tril()
    mask = torch.zeros(sees.shape, dtype=torch.float64).masked_fill(~sees, float("-inf"))[:, None]
    more = {} if view.position_ids is None else {"position_ids": view.position_ids}
    return module.backbone.model(input_ids=view.input_ids, attention_mask=mask, **more).last_hidden_state


def token_loss(module: Pretraining, view: View, attention: str, z_loss: float = 0.0) -> Tensor:
    """Mean cross-entropy under the tied embedding, and z_loss times the mean of (ln Z)²."""
    hidden = states(module, view, attention).flatten(0, 1)[view.label_positions]
    logits = hidden @ module.backbone.embedding.T
    return F.cross_entropy(logits, view.targets) + z_loss * logits.logsumexp(1).square().mean()


def gpt_bert(module: Pretraining, views: dict[str, View]) -> Tensor:
    """(L_causal + 15 L_masked) / 16: the mean over 16 devices, of which 15 learn masked tokens."""
    assert len(views["masked"].input_ids) == 15 * len(views["causal"].input_ids)
    causal = token_loss(module, views["causal"], "causal", 1e-4)
    masked = token_loss(module, views["masked"], "bidirectional", 1e-4)
    return (causal + 15 * masked) / 16


def llama_mix(module: Pretraining, views: dict[str, View]) -> Tensor:
    """w1 next token + w2 (generator + λ discriminator) + w3 order."""
    objectives: Any = module.objectives
    electra, order = objectives["replaced"], objectives["order"]
    total = 1.0 * token_loss(module, views["causal"], "causal")

    filled = electra.fill_in(views["replaced"], module.backbone.embedding_parameters())
    original = views["replaced"].input_ids.flatten().clone()
    original[filled.label_positions] = filled.targets
    replaced = (filled.input_ids.flatten() != original).double().view_as(filled.input_ids)
    hidden = states(module, filled, "bidirectional")
    verdicts = electra.classifier(F.gelu(electra.dense(hidden))).squeeze(-1)
    nats = F.binary_cross_entropy_with_logits(verdicts, replaced, reduction="none")
    real = torch.arange(filled.input_ids.shape[1]) < filled.lengths[:, None]
    generator = filled.extra["generator"] / len(filled.targets)
    total = total + 0.5 * (generator + 10.0 * nats[real].mean())

    view = views["order"]
    assert view.token_type_ids is not None
    hidden, pooled = states(module, view, "bidirectional"), []
    for row, length in enumerate(view.lengths.tolist()):
        second = view.token_type_ids[row, :length].bool()
        pooled.append(hidden[row, :length][~second].mean(0) - hidden[row, :length][second].mean(0))
    logits = order.classifier(order.dense(torch.stack(pooled)).tanh())
    return total + 1.0 * F.cross_entropy(logits, view.targets)


@pytest.mark.parametrize("by_hand", [gpt_bert, llama_mix], ids=lambda by_hand: by_hand.__name__)
def test_the_total_of_a_step_is_the_sum_by_hand(by_hand: Any, tmp_path: Path) -> None:
    read = settings(RECIPES[by_hand.__name__])
    small = {"corpus": str(write_corpus(tmp_path / "corpus.jsonl")), "cache": str(tmp_path), "tokenizer": 300}
    data = TextDataModule(**read["data"] | small | {"seq_len": 32, "validation_share": 0.3})
    first = FirstBatch(by_hand)
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(
        max_steps=1,
        accelerator="cpu",
        precision="64-true",
        callbacks=[first],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        limit_val_batches=0,
        **quiet,
    )
    torch.manual_seed(0)
    trainer.fit(module_of(read["model"]), data)
    assert first.found == pytest.approx(first.expected, rel=1e-6)
