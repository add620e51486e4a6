"""The models that are evaluated: a checkpoint of this package, or a folder that transformers wrote."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.backbone.config import first_position
from lm_objectives.backbone.positions import set_first_position
from lm_objectives.backbone.pretrained import read_config
from lm_objectives.data.cache import TokenCache, open_cache
from lm_objectives.data.tokenizer import vocabulary_of
from lm_objectives.data.tokenizer_folders import read_tokenizer
from lm_objectives.data.words import breaks_line, starts_word
from lm_objectives.errors import expect
from lm_objectives.evaluation.readings.base import Reading
from lm_objectives.evaluation.readings.collect import collect_readings
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
from lm_objectives.training.module import Pretraining
from lm_objectives.training.run import load_run
from lm_objectives.views import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_LONGEST = 2048  # tokens that are read at most by the model of a folder


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A model and all that its evaluation needs to know of it.

    Attributes:
        module: in evaluation mode.
        tokenizer: the one that it was trained with.
        vocabulary: the tokenizer's ids, and where words begin.
        readings: of all its objectives, by name.
        seq_len: tokens that it reads, special ones included.
        cache: the run's corpus; `None` where it is gone, and of a folder.
        description: for the results: its path, sizes, and what it was trained on.
    """

    module: Pretraining
    tokenizer: "PreTrainedTokenizerFast"
    vocabulary: Vocabulary
    readings: dict[str, Reading]
    seq_len: int
    cache: TokenCache | None
    description: dict[str, Any]


def from_checkpoint(path: str, import_module: str | Sequence[str] = ()) -> EvaluatedModel:
    """The model of a checkpoint of this package.

    Args:
        path: the checkpoint.
        import_module: as in `load_run`.

    Raises:
        InputError: as `load_run` does.
    """
    last = Path(path).expanduser() / "checkpoints" / "last.ckpt"
    expect(not last.parent.parent.is_dir(), f"a checkpoint's file at {path}", "a folder", f"{last} may be it")
    run = load_run(path, import_module)
    cache = None if run.cache is None else open_cache(run.cache)
    known = {"steps": run.steps, "tokens": run.module.tokens_read, "flops": run.flops}
    return from_module(run.module, run.tokenizer, cache, {"ckpt": str(path), **known})


def from_module(
    module: Pretraining, tokenizer: "PreTrainedTokenizerFast", cache: TokenCache | None, description: Mapping[str, Any]
) -> EvaluatedModel:
    """A trained module and its tokenizer."""
    named = tuple(dict(module.vocabulary.named_tokens))
    vocabulary = vocabulary_of(tokenizer, named)
    objectives = {name: module.objectives[name] for name in module.names}
    return EvaluatedModel(
        module.eval(),
        tokenizer,
        vocabulary,
        collect_readings(objectives),  # type: ignore[arg-type]
        module.seq_len,
        cache,
        {**description, **_describe(module)},
    )


def from_folder(path: str) -> EvaluatedModel:
    """The model of a folder that transformers wrote, with the heads that it has; nothing in it is executed.

    Raises:
        InputError: where there is no model, no head that is known here, or one of a family that cannot be a backbone.
    """
    folder = Path(path).expanduser()
    config = set_first_position(read_config(folder), pretrained=True)
    tokenizer = read_tokenizer(str(folder))
    kind = (config.architectures or ["a model without a head"])[0]
    objectives = _objectives_of(kind, config.model_type)
    mend = "write it by save_pretrained of a model with a head for causal, masked or sequence-to-sequence language"
    expect(bool(objectives), f"a model with a head that can be read at {path}", kind, mend)
    masks = any(isinstance(objective, MaskedLM | TextDenoising) for objective in objectives.values())
    vocabulary = _folder_vocabulary(tokenizer, config, masks, path)
    backbone = Backbone(pretrained=str(folder))
    module = Pretraining(backbone, objectives)
    positions = getattr(config, "max_position_embeddings", None) or _LONGEST
    with torch.random.fork_rng(devices=[]):
        module.build(vocabulary, min(int(positions) - first_position(config), _LONGEST), steps=-1)
    missing = [name for name, held in module.backbone.heads_found.items() if not held]
    found = f"none for {', '.join(missing)} that is known here of {config.model_type}"
    expect(not missing, f"the weights of the head of a {kind} in {path}", found, mend)
    objectives = {name: module.objectives[name] for name in module.names}  # type: ignore[misc]
    readings = collect_readings(objectives)
    description = {"folder": str(path), **_describe(module)}
    return EvaluatedModel(module.eval(), tokenizer, vocabulary, readings, module.seq_len, None, description)


def untrained_backbone(model: EvaluatedModel, seed: int) -> Backbone:
    """A backbone of the model's architecture with fresh weights."""
    backbone = Backbone(model_type=model.module.backbone.config.model_type)
    backbone.load_architecture(model.module.backbone.architecture())
    corruptions = {name: model.module.sources[name].corruption for name in model.module.names}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone.setup(model.module.vocabulary, model.seq_len, corruptions)
    return backbone.eval().to(model.module.device)


def _objectives_of(kind: str, family: str) -> dict[str, Objective]:
    """The objectives whose heads a class of transformers has."""
    from transformers.models.auto import modeling_auto as auto

    pairs: dict[str, dict[str, Objective]] = {
        "BertForPreTraining": {"masked": MaskedLM(), "next": NextSentence()},
        "BertForNextSentencePrediction": {"next": NextSentence()},
        "AlbertForPreTraining": {"masked": MaskedLM(), "order": SentenceOrder()},
        "ElectraForPreTraining": {"replaced": ReplacedToken(frame="bos-eos")},
    }
    if kind in pairs:
        return pairs[kind]
    if kind in auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values():
        spans = "t5" in family or family == "switch_transformers"
        return {"spans": SpanDenoising()} if spans else {"infill": TextDenoising(frame="bos-eos")}
    if kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        return {"masked": MaskedLM()}
    return {"causal": CausalLM()} if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() else {}


def _folder_vocabulary(tokenizer: "PreTrainedTokenizerFast", config: Any, masks: bool, path: str) -> Vocabulary:
    """The ids of a folder's tokenizer as they are: none is added, which would take a part of the probability.

    Where it has no bos, a row begins with eos, as GPT-2's do. A padding of its own is not needed: nothing reads it.
    """
    ids, size = tokenizer.get_vocab(), config.vocab_size
    largest = max(ids.values(), default=0)
    expect(largest < size, f"a tokenizer of at most {size} tokens in {path}", largest + 1, "give the model its own")
    bos = _first(tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id)
    eos = _first(tokenizer.eos_token_id, tokenizer.sep_token_id, bos)
    mend = "add it to tokenizer_config.json"
    expect(bos is not None, f"a tokenizer in {path} with a bos, cls, eos or sep token", "none", mend)
    mask = tokenizer.mask_token_id
    expect(not masks or mask is not None, f"a tokenizer with a mask token in {path}", "none", mend)
    pad = _first(tokenizer.pad_token_id, config.pad_token_id, eos)
    special = {*tokenizer.all_special_ids}
    special |= {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return Vocabulary(
        size=size,
        pad=pad,
        bos=bos,
        eos=eos,
        mask=pad if mask is None else mask,
        special=tuple(sorted(special)),
        named_tokens=tuple((token, ids[token]) for token in ids if token.startswith("<extra_id_")),
        starts_word=starts_word(tokenizer.backend_tokenizer, special, size),
        breaks_line=breaks_line(tokenizer.backend_tokenizer, size),
    )


def _first(*found: int | None) -> Any:
    return next((number for number in found if number is not None), None)


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _describe(module: Pretraining) -> dict[str, Any]:
    """Sizes of a model, and a hash of its weights."""
    return {
        "family": module.backbone.config.model_type,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "objectives": {name: type(module.objectives[name]).__name__ for name in module.names},
        "weights": f"sha256:{hash_weights(module)}",
    }
