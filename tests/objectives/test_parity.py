"""Each system against the reference class: the same weights and rows give its loss, gradients, and training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from utils import tiny
from utils.families import SEQ2SEQ

from lm_objectives import Backbone, Pretraining
from lm_objectives.objectives import (
    CausalLM,
    MaskedLM,
    NextSentence,
    Objective,
    ReplacedToken,
    SentenceOrder,
    SpanDenoising,
    TextDenoising,
)
from lm_objectives.objectives.base import combine_losses
from lm_objectives.objectives.hf_heads import parameter_names
from lm_objectives.optim import Adafactor
from lm_objectives.views import View

STEPS = 20
SIZES: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 67}
ENCODER: dict[str, Any] = SIZES | {
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 0,
}
ORDINARY = 57  # tokens that are no sentinels
VOCABULARY = replace(tiny.vocabulary(), named_tokens=tuple((f"<extra_id_{n}>", ORDINARY + n) for n in range(10)))
Views = dict[str, View]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3)


def adafactor(parameters: Any) -> torch.optim.Optimizer:
    """T5's, as transformers has it."""
    return transformers.Adafactor(parameters, lr=0.01, relative_step=False, scale_parameter=True, warmup_init=False)


@dataclass(frozen=True)
class System:
    """A published system: the classes of transformers, our objectives, the loss that those classes compute, and the
    optimizers of ours and theirs."""

    reference: Callable[[], nn.ModuleDict]
    objectives: Callable[[], dict[str, Objective]]
    loss: Callable[[Any, Views], Tensor]
    optimizers: tuple[MakeOptimizer, MakeOptimizer] = (adamw, adamw)


def model_of(kind: str, **config: Any) -> Callable[[], nn.ModuleDict]:
    """One class of transformers with a fresh model."""
    made = getattr(transformers, kind)
    return lambda: nn.ModuleDict({"whole": made(made.config_class(**config))})


def electra() -> nn.ModuleDict:
    """Discriminator and generator that share the whole embedding layer, as in ELECTRA's own code."""
    sizes = ENCODER | {"embedding_size": 16}
    narrow = sizes | {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 12}
    whole = transformers.ElectraForPreTraining(transformers.ElectraConfig(**sizes))
    generator = transformers.ElectraForMaskedLM(transformers.ElectraConfig(**narrow))
    generator.electra.embeddings = whole.electra.embeddings
    generator.tie_weights()
    return nn.ModuleDict({"whole": whole, "generator": generator})


def t5_1_1() -> nn.ModuleDict:
    """T5 1.1's head is its own, which transformers only learns from weights."""
    models = model_of("T5ForConditionalGeneration", **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)()
    whole: Any = models["whole"]
    whole.lm_head.weight = nn.Parameter(torch.randn_like(whole.lm_head.weight))
    return models


def inputs_of(view: View) -> dict[str, Tensor]:
    return {"input_ids": view.input_ids, "attention_mask": real_of(view).long()}


def real_of(view: View) -> Tensor:
    return torch.arange(view.input_ids.shape[1]) < view.lengths[:, None]


def token_labels(view: View) -> Tensor:
    """-100 where nothing is scored, as the references want it."""
    return (
        torch.full_like(view.input_ids, -100)
        .flatten()
        .index_copy(0, view.label_positions, view.targets)
        .view_as(view.input_ids)
    )


def causal_loss(models: Any, views: Views) -> Tensor:
    view = views["causal"]
    return models["whole"](**inputs_of(view), labels=view.input_ids.masked_fill(~real_of(view), -100)).loss


def masked_loss(models: Any, views: Views) -> Tensor:
    view = views["masked"]
    return models["whole"](**inputs_of(view), token_type_ids=view.token_type_ids, labels=token_labels(view)).loss


def bert_loss(models: Any, views: Views) -> Tensor:
    view, follows = views["masked"], views["next"].targets
    labels = {"labels": token_labels(view), "next_sentence_label": follows}
    return models["whole"](**inputs_of(view), token_type_ids=view.token_type_ids, **labels).loss


def albert_loss(models: Any, views: Views) -> Tensor:
    view, order = views["masked"], views["order"].targets
    labels = {"labels": token_labels(view), "sentence_order_label": order}
    return models["whole"](**inputs_of(view), token_type_ids=view.token_type_ids, **labels).loss


def electra_loss(models: Any, views: Views) -> Tensor:
    view, filled = views["replaced"], views["filled"]
    generator = models["generator"](**inputs_of(view), token_type_ids=view.token_type_ids, labels=token_labels(view))
    labels = filled.extra["labels"]
    return (
        generator.loss
        + 50 * models["whole"](**inputs_of(filled), token_type_ids=view.token_type_ids, labels=labels).loss
    )


def written_loss(models: Any, views: Views) -> Tensor:
    [view] = views.values()
    assert view.decoder_labels is not None
    labels = torch.full_like(view.decoder_labels, -100).flatten().index_copy(0, view.label_positions, view.targets)
    return models["whole"](**inputs_of(view), labels=labels.view_as(view.decoder_labels)).loss


SPECIAL = {"vocab_size": 67, "pad_token_id": 0, "eos_token_id": 2}
T5 = SEQ2SEQ["t5"] | SPECIAL | {"decoder_start_token_id": 0}
BART = SEQ2SEQ["bart"] | SPECIAL | {"decoder_start_token_id": 2}
ALBERT = ENCODER | {"embedding_size": 16, "classifier_dropout_prob": 0.0}
TYPES = {"type_vocab_size": 2}
SYSTEMS = {
    "gpt2": System(
        model_of("GPT2LMHeadModel", **SIZES, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
        lambda: {"causal": CausalLM()},
        causal_loss,
    ),
    "llama": System(
        model_of("LlamaForCausalLM", **SIZES, intermediate_size=48, num_key_value_heads=2),
        lambda: {"causal": CausalLM()},
        causal_loss,
    ),
    "bert_masked": System(model_of("BertForMaskedLM", **ENCODER), lambda: {"masked": MaskedLM(0.3)}, masked_loss),
    "bert": System(
        model_of("BertForPreTraining", **ENCODER),
        lambda: {"next": NextSentence(), "masked": MaskedLM(0.3, shares_rows_with="next")},
        bert_loss,
    ),
    "roberta": System(
        model_of("RobertaForMaskedLM", **ENCODER | TYPES), lambda: {"masked": MaskedLM(0.3)}, masked_loss
    ),
    "albert": System(
        model_of("AlbertForPreTraining", **ALBERT),
        lambda: {"order": SentenceOrder(), "masked": MaskedLM(0.3, shares_rows_with="order")},
        albert_loss,
    ),
    "electra": System(electra, lambda: {"replaced": ReplacedToken(0.3)}, electra_loss),
    "t5": System(
        model_of("T5ForConditionalGeneration", **T5),
        lambda: {"spans": SpanDenoising(0.3)},
        written_loss,
        (Adafactor, adafactor),
    ),
    "t5_1_1": System(t5_1_1, lambda: {"spans": SpanDenoising(0.3)}, written_loss, (Adafactor, adafactor)),
    "bart": System(
        model_of("BartForConditionalGeneration", **BART), lambda: {"text": TextDenoising(unit="token")}, written_loss
    ),
}
each_system = pytest.mark.parametrize("name", SYSTEMS)


def both(name: str, folder: Path) -> tuple[Pretraining, nn.ModuleDict]:
    """Our module, begun from the folders that the reference wrote, and the reference."""
    torch.manual_seed(0)
    models = SYSTEMS[name].reference().train()
    with torch.no_grad():
        for parameter in models.parameters():  # so that no bias is zero and no gain one
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    for part, model in models.items():
        model.save_pretrained(folder / part.replace("whole", ""))
    module = Pretraining(Backbone(pretrained=str(folder)), SYSTEMS[name].objectives())
    module.build(VOCABULARY, tiny.WINDOW, STEPS)
    return module.train(), models


def views_of(module: Pretraining, step: int) -> Views:
    """Rows of a step through each objective's corruption; those that share rows get the same ids, as a batch has it."""
    rows, views = tiny.rows(8, ORDINARY, step), {}
    for name in module.names:
        corruption = module.sources[name].corruption
        read = (
            replace(rows, token_type_ids=None, sentence_starts=rows.input_ids % 4 == 0)
            if corruption.uses_decoder
            else rows
        )
        views[name] = corruption.corrupt(read, VOCABULARY)
    return {name: replace(view, input_ids=views.get("masked", view).input_ids) for name, view in views.items()}


def loss(module: Pretraining, views: Views) -> Tensor:
    """Our total with all weights 1."""
    outcomes = module.forward_views(views)
    objectives: Any = module.objectives
    losses = [
        combine_losses(objectives[name].loss_weights, outcome.loss_sums, views[name].counts)
        for name, outcome in outcomes.items()
    ]
    return torch.stack(losses).sum()


def reference_loss(name: str, module: Pretraining, models: nn.ModuleDict, views: Views) -> Tensor:
    """The reference's loss, from samples of our generator where there is one."""
    if "replaced" in views:
        with torch.no_grad():
            filled = module.objectives["replaced"].fill_in(views["replaced"], module.backbone.embedding_parameters())
        views = views | {"filled": filled}
    return SYSTEMS[name].loss(models, views)


def pairs_of(module: Pretraining, models: nn.ModuleDict) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Each of our parameters with the reference's, by the latter's name; all of both."""
    family, whole = module.backbone.config.model_type, models["whole"]
    theirs, pairs = dict(whole.named_parameters()), {}
    prefix = "" if whole.base_model is whole else f"{whole.base_model_prefix}."
    for name, parameter in module.backbone.model.named_parameters():
        pairs[f"{prefix}{name}"] = parameter
    for objective in module.objectives.values():
        own = dict(objective.named_parameters())
        pairs |= {there: own[name] for name, there in parameter_names(objective, objective.hf_names(family)).items()}
        if isinstance(objective, ReplacedToken):
            names = parameter_names(objective, objective.hf_generator_names(family))
            pairs |= {f"generator:{there}": own[name] for name, there in names.items()}
            theirs |= {f"generator:{name}": value for name, value in models["generator"].named_parameters()}
    shared = {name for name in theirs if name.startswith("generator:electra.embeddings.")}
    assert pairs.keys() == theirs.keys() - shared
    assert len(pairs) == len(list(module.parameters()))
    return {name: (parameter, theirs[name]) for name, parameter in pairs.items()}


def distance(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Norm of the difference of all, relative to the reference's."""
    apart = torch.cat([(ours - theirs).flatten() for ours, theirs in pairs]).norm()
    return float(apart / torch.cat([theirs.flatten() for _, theirs in pairs]).norm())


@each_system
def test_loss_and_gradients_are_the_references(name: str, tmp_path: Path) -> None:
    """Oracle: the class of transformers, in single precision."""
    module, models = both(name, tmp_path)
    views = views_of(module, 0)
    ours, theirs = loss(module, views), reference_loss(name, module, models, views)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    ours.backward()
    theirs.backward()
    gradients = {key: (a.grad, b.grad) for key, (a, b) in pairs_of(module, models).items()}
    assert all(own is not None and other is not None for own, other in gradients.values())
    assert distance(list(gradients.values())) < 1e-5
    largest = max(float(other.norm()) for _, other in gradients.values())
    for key, pair in gradients.items():
        if pair[1].norm() > 1e-3 * largest:
            assert distance([pair]) < 1e-5, key


@each_system
def test_twenty_steps_end_at_the_references_weights(name: str, tmp_path: Path) -> None:
    """Oracle: the class of transformers under an optimizer of its own, in double precision.

    Adam makes a step of a gradient that is only rounding (a key's bias has none else), which single precision shows.
    """
    module, models = (both_.double() for both_ in both(name, tmp_path))
    begun = [parameter.detach().clone() for parameter in models.parameters()]
    kinds = zip(SYSTEMS[name].optimizers, (module, models), strict=True)
    optimizers = [make(part.parameters()) for make, part in kinds]
    for step in range(STEPS):
        views = views_of(module, step)
        for total in (reference_loss(name, module, models, views), loss(module, views)):
            total.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    moved = [(after, before) for after, before in zip(models.parameters(), begun, strict=True)]
    assert distance(moved) > 1e-2
    for key, (own, other) in pairs_of(module, models).items():
        torch.testing.assert_close(own, other, rtol=0, atol=1e-4, msg=key)
