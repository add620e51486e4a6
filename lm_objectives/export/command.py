"""The command `export`: folders that are written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lm_objectives.backbone.pretrained import silence_transformers
from lm_objectives.corruptions.base import Corruption
from lm_objectives.data.tokenizer import exported_tokenizer, save_tokenizer
from lm_objectives.errors import InputError, expect
from lm_objectives.export.convert import convert
from lm_objectives.export.reference import NotExportableError
from lm_objectives.training.run import LoadedRun, load_run

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def export(
    ckpt_path: str, output: str, objective: str | None = None, import_module: str | list[str] | None = None
) -> None:
    """Write a checkpoint as Hugging Face folders: safetensors, configuration, tokenizer.

    CausalLM becomes an AutoModelForCausalLM (decoder-only backbones), MaskedLM an AutoModelForMaskedLM (albert, bert,
    electra, modernbert and roberta backbones), ReplacedToken an ElectraForPreTraining with its generator, an
    ElectraForMaskedLM, in the folder generator below (electra backbones). With a MaskedLM on the same rows
    SentenceOrder becomes an AlbertForPreTraining (albert backbones) and NextSentence a BertForPreTraining (bert
    backbones), which hold both heads; NextSentence alone a BertForNextSentencePrediction. PrefixLM, SpanDenoising and
    TextDenoising become an AutoModelForSeq2SeqLM (encoder-decoders). Each is compared with the checkpoint's own logits
    before it is written. What has no equal in transformers is named with the reason.

    Each folder's tokenizer makes of a text what training read: behind one space where it is a byte-level BPE, bos and
    eos around it, and a pair of texts as segments. CausalLM's adds bos alone, so that the text goes on; an encoder that
    reads for a decoder gets bos and eos from TextDenoising, eos from SpanDenoising and bos from PrefixLM, the latter
    two with the objective's mode token in front.

    Args:
        ckpt_path: the checkpoint to read, for example runs/quickstart/checkpoints/last.ckpt.
        output: a new or an empty folder; gets one folder for each objective, named like it.
        objective: name of the one objective to write, into output itself.
        import_module: module of yours, or several, whose classes the checkpoint names; no other is imported for it.

    Raises:
        InputError: when the checkpoint cannot be read, nothing in it can be exported, or output cannot be written.
    """
    run, target = load_run(ckpt_path, import_module or ()), Path(output).expanduser()
    expected = f"one of {', '.join(run.module.names)} as the objective"
    expect(objective is None or objective in run.module.names, expected, repr(objective), "name one of these")
    said, reasons = [], []
    with _beside(target) as scratch:
        for name in [objective] if objective else run.module.names:
            try:
                models = convert(run.module, name)
            except NotExportableError as reason:
                reasons.append(f"{name}: {reason}")
                continue
            where = Path() if objective else Path(name)
            for below, model in models.items():
                _write(model, run, run.module.sources[name].corruption, scratch / where / below)
                said.append(f"{name}: {target / where / below}, a {type(model).__name__}")
        mend = "train CausalLM on a decoder-only, MaskedLM on an encoder-only or TextDenoising on a backbone with both"
        expect(bool(said), "an objective that transformers has a head for", f"none ({'; '.join(reasons)})", mend)
    print("\n".join([*said, *(f"{reason} (not exported)" for reason in reasons)]))


def _write(model: "PreTrainedModel", run: LoadedRun, corruption: Corruption, folder: Path) -> None:
    segments = ["token_type_ids"] if getattr(model.config, "type_vocab_size", 0) > 1 else []
    inputs = ["input_ids", *segments, "attention_mask"]  # what the model takes, and no more
    tokenizer = exported_tokenizer(run.tokenizer, *corruption.prefix_and_suffix(run.module.vocabulary), inputs)
    for role in ("pad_token_id", "eos_token_id") if model.can_generate() else ():  # which not every folder had
        if getattr(model.generation_config, role) is None:
            setattr(model.generation_config, role, getattr(tokenizer, role))
    with silence_transformers():
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all went well, and nothing otherwise."""
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"expected a new or an empty folder for output, found {target} in use: choose another one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as scratch:
            folder = Path(scratch) / "folder"
            folder.mkdir()
            yield folder
            os.replace(folder, target)
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written for output, found {target} ({error.strerror or error}): "
            "choose another one"
        ) from error
