"""Read a pretrained model, and the weights of its heads, from a folder in transformers' format."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm_objectives.backbone.config import (
    attention_kind,
    first_position,
    new_model,
    set_padding,
    share_embedding,
    wrap_errors,
)
from lm_objectives.corruptions.base import Corruption
from lm_objectives.corruptions.windows import FRAME_TOKENS
from lm_objectives.errors import InputError, expect
from lm_objectives.views import Vocabulary

_log = logging.getLogger("lm_objectives")

_CUT = 8  # at most one in so many rows of an embedding may belong to no token: some models round their number up


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """The contents of a folder.

    Attributes:
        folder: its path.
        model: the model without a head; its embedding has a row for each token of the data's vocabulary.
        weights: all weights by their names in the class that saved the folder.
        tied: whether that class predicts tokens by the embedding, as far as it predicts any.
        whole: the model of that class, which `model` is a part of.
    """

    folder: Path
    model: Any
    weights: dict[str, Tensor]
    tied: bool
    whole: Any


def read_config(folder: Path) -> Any:
    """Read the configuration in a folder; an `InputError` where transformers finds none."""
    from transformers import AutoConfig

    expect((folder / "config.json").is_file(), f"a folder with a config.json at {folder}", "none", "check the path")
    with wrap_errors(f"a configuration of transformers in {folder}", "check model.backbone.pretrained"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def check_frames(folder: Path, config: Any, vocabulary: Vocabulary, corruptions: Mapping[str, Corruption]) -> None:
    """Raise where rows would be framed by tokens that the weights in a folder were not trained with."""
    for name, corruption in corruptions.items():
        missing = [kind for kind in FRAME_TOKENS[corruption.frame] if getattr(vocabulary, kind) >= config.vocab_size]
        expected = (
            f"a tokenizer with {' and '.join(missing)} in {folder} for frame {corruption.frame} of objective {name}"
        )
        expect(not missing, expected, "none", "set its frame to none")


def read_folder(folder: Path, config: Any, vocabulary: Vocabulary) -> PretrainedWeights:
    """Read a folder as the class that saved it, where transformers has that: only safetensors, no code.

    Raises:
        InputError: where there are no weights of such a model, or those of another vocabulary.
    """
    with wrap_errors(f"safetensors weights in {folder}", "check model.backbone.pretrained"), silence_transformers():
        whole, said = _class_of(config).from_pretrained(
            folder,
            attn_implementation=attention_kind(config),
            use_safetensors=True,
            dtype=torch.get_default_dtype(),
            output_loading_info=True,
        )
    inner = "" if whole.base_model is whole else f"{whole.base_model_prefix}."
    lost = sorted(
        name for name in said["missing_keys"] if name.startswith(inner) and not name.startswith(f"{inner}pooler")
    )
    if lost:
        raise InputError(
            f"expected the weights of a {config.model_type} in {folder}, found none for {lost[0]} and "
            f"{len(lost) - 1} others: check model.backbone.pretrained"
        )
    whole.train()  # transformers reads it in evaluation mode
    _fit(whole, vocabulary, folder)
    if first := first_position(config):
        whole.config.first_position = first
    whole.config.pad_token_id = vocabulary.pad  # which may be another than the folder's, or one that it lacks
    set_padding(whole, vocabulary.pad)
    if whole.config.is_encoder_decoder and not whole.config.tie_word_embeddings:
        _share(whole, folder)
    output = whole.get_output_embeddings()
    tied = output is None or torch.equal(output.weight, whole.get_input_embeddings().weight)
    weights = {name: weight for name, weight in whole.state_dict().items() if name not in said["missing_keys"]}
    return PretrainedWeights(folder, _bare(whole), weights, tied, whole)


def _class_of(config: Any) -> Any:
    """The class that saved a folder, or `AutoModel` where transformers has no such class of this family."""
    import transformers

    named: Any = getattr(transformers, (config.architectures or [""])[0], None)
    known = isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)
    return named if known and named.config_class is type(config) else transformers.AutoModel


def _bare(whole: Any) -> Any:
    """The model without its head."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    kind: Any = MODEL_MAPPING[type(whole.config)]
    if isinstance(whole.base_model, kind):
        return whole.base_model
    with torch.device("meta"):
        bare: Any = new_model(whole.config)  # T5's encoder and decoder are in no model of their own
    for name, _ in bare.named_children():
        setattr(bare, name, getattr(whole, name))
    return bare


def _fit(model: Any, vocabulary: Vocabulary, folder: Path) -> None:
    """Resize the embedding, and the head over the vocabulary, to the tokens of the data's vocabulary.

    New rows are drawn around the mean of the old ones, with a billionth of their covariance, by the run's seed.
    """
    rows, tokens = model.get_input_embeddings().num_embeddings, vocabulary.size
    new = {*vocabulary.special, *vocabulary.added}
    if not set(range(rows, tokens)) <= new or rows - tokens > rows // _CUT:
        raise InputError(
            f"expected the tokenizer of the weights in {folder}, which know {rows} tokens, found one of {tokens}: "
            f"set data.tokenizer to {folder}"
        )
    if rows != tokens:
        with silence_transformers():
            model.resize_token_embeddings(tokens)
        added = sorted(token for token in new if token >= rows)
        reason = (
            f"tokens {added} were added, which start near the mean of the others"
            if added
            else "the others belong to no token"
        )
        _log.info("%s: embedding of %d rows made one of %d, since %s", folder, rows, tokens, reason)


def _share(model: Any, folder: Path) -> None:
    """Let encoder and decoder read one embedding; an `InputError` where theirs differ."""
    tables = [part.get_input_embeddings().weight for part in (model, model.get_encoder(), model.get_decoder())]
    expected = f"an encoder and a decoder that read one embedding in {folder}"
    expect(all(torch.equal(tables[0], table) for table in tables), expected, "two", "check model.backbone.pretrained")
    share_embedding(model)


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Turn off transformers' progress bars and warnings."""
    from transformers.utils import logging as theirs

    shown, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if shown:
            theirs.enable_progress_bar()
