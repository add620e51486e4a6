"""A checkpoint as Hugging Face folders, one for each objective that transformers has a head for."""

import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining, PreTrainedModel
from transformers.utils import logging as transformers_logging

from lm_objectives.backbone import Backbone
from lm_objectives.checkpoint import open_run
from lm_objectives.configuration import is_decoder
from lm_objectives.corruption.base import View
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SentenceOrder
from lm_objectives.pretraining import Pretraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_PROBE = 128  # tokens that the exported model and ours must agree on
_TOLERANCE = 1e-4  # of the largest logit, in single precision


class NotExportableError(ValueError):
    """An objective that transformers has no equal head for; says why."""


class Exported(NamedTuple):
    """A transformers model around the backbone, and the same logits as our head gives them."""

    model: PreTrainedModel
    logits: Callable[[Tensor], Tensor]


def export(ckpt_path: str, output: str, objective: str | None = None) -> None:
    """Write a checkpoint as Hugging Face folders: safetensors, configuration, tokenizer.

    CausalLM becomes an AutoModelForCausalLM (decoder-only backbones), MaskedLM an AutoModelForMaskedLM (bert, roberta,
    electra and modernbert backbones) and ReplacedToken an ElectraForPreTraining (electra backbones). Each is compared
    with the checkpoint's own logits before it is written. What has no equal in transformers is named with the reason.

    Args:
        ckpt_path: the checkpoint to read, for example runs/quickstart/checkpoints/last.ckpt.
        output: a new or an empty folder; gets one folder for each objective, named like it.
        objective: name of the one objective to write, into output itself.

    Raises:
        ValueError: when the checkpoint cannot be read, nothing in it can be exported, or output cannot be written.
    """
    run, target = open_run(ckpt_path), Path(output).expanduser()
    if objective is not None and objective not in run.module.names:
        raise ValueError(
            f"expected one of {', '.join(run.module.names)} as the objective, found {objective!r}: name one of these"
        )
    said, reasons = [], []
    with _beside(target) as scratch:
        for name in [objective] if objective else run.module.names:
            try:
                model = convert(run.module, name)
            except NotExportableError as reason:
                reasons.append(f"{name}: {reason}")
                continue
            where = Path() if objective else Path(name)
            _write(model, run.tokenizer, scratch / where)
            said.append(f"{name}: {target / where}, a {type(model).__name__}")
        if not said:
            raise ValueError(
                f"expected an objective that transformers has a head for, found none ({'; '.join(reasons)}): "
                "train CausalLM on a decoder-only or MaskedLM on an encoder-only backbone"
            )
    print("\n".join([*said, *(f"{reason} (not exported)" for reason in reasons)]))


def convert(module: Pretraining, name: str) -> PreTrainedModel:
    """The transformers model that shares the backbone and the head of one objective.

    Raises:
        NotExportableError: when there is none whose logits are equal.
    """
    objective: Any = module.objectives[name]
    make = _MAKERS.get(type(objective))
    if make is None:
        raise NotExportableError(f"transformers has no head for the class {type(objective).__name__}")
    model, logits = make(objective, module.backbone)
    module.eval()
    model.eval()
    if not _agree(module, objective, model, logits):
        raise NotExportableError(
            f"{type(model).__name__} gives other logits than this head under the backbone's configuration"
        )
    return model


def _around(auto: Any, backbone: Backbone) -> Any:
    model = auto.from_config(copy.deepcopy(backbone.config))
    setattr(model, model.base_model_prefix, backbone.model)
    model.tie_weights()
    return model


@torch.no_grad()
def _causal(objective: CausalLM, backbone: Backbone) -> Exported:
    family = backbone.config.model_type
    if not is_decoder(family):
        raise NotExportableError(f"{family} is an encoder, which transformers does not run causally")
    weight = backbone.embedding if objective.head is None else objective.head.weight
    model = _around(AutoModelForCausalLM, backbone)
    head = model.get_output_embeddings().weight
    if head.shape != weight.shape:
        raise NotExportableError(f"its head has {len(weight)} tokens and the backbone's configuration {len(head)}")
    head.copy_(weight)
    return Exported(model, lambda hidden: F.linear(hidden, weight))


# Where a family's masked model keeps the dense layer and the norm of our head.
_MASKED = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "electra": ("generator_predictions.dense", "generator_predictions.LayerNorm"),
    "modernbert": ("head.dense", "head.norm"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm"),
}


@torch.no_grad()
def _masked(objective: MaskedLM, backbone: Backbone) -> Exported:
    transform, bias, family = objective.transform, objective.bias, backbone.config.model_type
    if transform is None:
        raise NotExportableError("it predicts from the previous position, which no masked model of transformers does")
    if family not in _MASKED:
        raise NotExportableError(f"masked heads are known of {', '.join(_MASKED)}, not of {family}")
    model = _around(AutoModelForMaskedLM, backbone)
    dense, norm = (model.get_submodule(path) for path in _MASKED[family])
    dense.load_state_dict(transform[0].state_dict())
    norm.load_state_dict(transform[2].state_dict())
    head = model.get_output_embeddings()
    if head.bias is None:
        raise NotExportableError(f"this {family} configuration has no bias on its tokens")
    head.weight.copy_(backbone.embedding)
    head.bias.copy_(bias)
    return Exported(model, lambda hidden: F.linear(transform(hidden), backbone.embedding, bias))


@torch.no_grad()
def _replaced(objective: ReplacedToken, backbone: Backbone) -> Exported:
    family = backbone.config.model_type
    if family != "electra":
        raise NotExportableError(f"transformers has a head for replaced tokens on electra, not on {family}")
    model = _around(AutoModelForPreTraining, backbone)
    model.discriminator_predictions.dense.load_state_dict(objective.dense.state_dict())
    model.discriminator_predictions.dense_prediction.load_state_dict(objective.classifier.state_dict())
    return Exported(model, objective.logits)


def _order(objective: SentenceOrder, backbone: Backbone) -> Exported:
    del objective, backbone
    raise NotExportableError("transformers has no class for sentence order")


_MAKERS: dict[type[Objective], Callable[[Any, Backbone], Exported]] = {
    CausalLM: _causal,
    MaskedLM: _masked,
    ReplacedToken: _replaced,
    SentenceOrder: _order,
}


@torch.no_grad()
def _agree(module: Pretraining, objective: Objective, model: Any, logits: Callable[[Tensor], Tensor]) -> bool:
    """Whether both give the same logits for a row of random tokens."""
    time = min(module.window, _PROBE)
    ids = torch.randint(module.vocabulary.size, (1, time), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(0, dtype=torch.long)
    view = View(ids, torch.tensor([time]), objective.corruption.attention, nothing, nothing, {})
    [hidden] = module.backbone.encode([view])
    ours, theirs = logits(hidden), model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= _TOLERANCE * ours.abs().max())


def _write(model: PreTrainedModel, tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    segments = ["token_type_ids"] if getattr(model.config, "type_vocab_size", 0) else []
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_input_names = ["input_ids", *segments, "attention_mask"]  # what the model takes, and no more
    with _without_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _without_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all went well, and nothing otherwise."""
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ValueError(f"expected a new or an empty folder for output, found {target} in use: choose another one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as scratch:
            folder = Path(scratch) / "folder"
            folder.mkdir()
            yield folder
            os.replace(folder, target)
    except OSError as error:
        raise ValueError(
            f"expected a folder that can be written for output, found {target} ({error.strerror or error}): "
            "choose another one"
        ) from error
