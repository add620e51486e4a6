"""Exported folders: transformers loads them without a word, and its own loss is ours."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from utils.families import ENCODERS, FAMILIES

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.data.cache import open_cache
from lm_objectives.data.tokenizer import read_tokenizer_files, tokenizer_from_files
from lm_objectives.export import export
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, PrefixLM, ReplacedToken, SpanDenoising
from lm_objectives.training.run import LoadedRun, load_run
from lm_objectives.views import Rows, View

_AUTO = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "replaced": transformers.ElectraForPreTraining,
}


def backbone_of(family: str, **changes: Any) -> Backbone:
    """A tiny model of a family; ELECTRA's embedding is narrower than its states."""
    return Backbone(family, FAMILIES[family] | changes)


def objectives_for(family: str) -> dict[str, Objective]:
    """What this family is exported with."""
    if family not in ENCODERS:
        return {"causal": CausalLM()}
    return {"masked": MaskedLM()} | ({"replaced": ReplacedToken()} if family == "electra" else {})


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What transformers logs from warnings on; its loggers do not reach pytest's."""
    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def reloaded(folder: Path, auto: Any) -> Any:
    """The model of a folder, which must load with nothing missing, left over, or of another shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def rows_of(run: LoadedRun) -> Rows:
    """Three held-out rows, the last one padded."""
    assert run.cache is not None
    ids = np.array(open_cache(run.cache).validation.tokens[:96], dtype=np.int64).reshape(3, 32)
    ids[2, 20:] = run.module.vocabulary.pad
    return Rows(np.arange(3, dtype=np.uint64), ids, np.array([32, 32, 20]))


@torch.no_grad()
def both_losses(run: LoadedRun, name: str, model: Any) -> tuple[Tensor, Tensor]:
    """Nats per scored position by our head, and by transformers from `labels`."""
    objective: Any = run.module.objectives[name]
    embedding = run.module.backbone.embedding
    view: View = objective.corruption.corrupt(rows_of(run), run.module.vocabulary)
    view = objective.fill_in(view, run.module.backbone.embedding_parameters())
    [hidden] = run.module.backbone.encode([view])
    part = "discriminator" if name == "replaced" else "loss"
    ours = objective.compute_loss(hidden, view, embedding).loss_sums[part] / view.counts[part]
    real = torch.arange(view.input_ids.shape[1]) < view.lengths[:, None]
    labels = torch.full_like(view.input_ids, -100)
    if name == "causal":
        labels[real] = view.input_ids[real]  # transformers shifts by itself
    elif name == "masked":
        labels.view(-1)[view.label_positions] = view.targets
    else:
        labels = view.extra["labels"]
    return ours, model(input_ids=view.input_ids, attention_mask=real.long(), labels=labels).loss


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_each_family_in_silence_and_has_the_same_loss(
    family: str, train: Any, tmp_path: Path, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = train(backbone_of(family), objectives_for(family))
    export(str(checkpoint), str(tmp_path / "out"))
    run = load_run(str(checkpoint))
    lines = capsys.readouterr().out.splitlines()
    assert list(dict.fromkeys(line.split(":")[0] for line in lines)) == list(run.module.names)
    for name in run.module.names:
        folder = tmp_path / "out" / name
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
        model = reloaded(folder, _AUTO[name])
        assert said == []
        ours, theirs = both_losses(run, name, model)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("family", "name"), [("qwen3", "causal"), ("gpt2", "causal"), ("bert", "masked")])
def test_heads_that_the_configuration_unties_are_exported_too(
    family: str, name: str, train: Any, tmp_path: Path
) -> None:
    checkpoint = train(backbone_of(family, tie_word_embeddings=False), objectives_for(family))
    export(str(checkpoint), str(tmp_path / "out"), objective=name)
    ours, theirs = both_losses(load_run(str(checkpoint)), name, reloaded(tmp_path / "out", _AUTO[name]))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_generation_ends_and_pads_with_the_tokenizers_tokens_where_a_folder_names_none(
    train: Any, tiny_run: Path, tmp_path: Path
) -> None:
    vocabulary = load_run(str(tiny_run)).module.vocabulary
    config = transformers.LlamaConfig(**FAMILIES["llama"], vocab_size=vocabulary.size, eos_token_id=None)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "begun")
    checkpoint = train(Backbone(pretrained=str(tmp_path / "begun")), {"causal": CausalLM()})
    export(str(checkpoint), str(tmp_path / "out"), "causal")
    settings = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert (settings.pad_token_id, settings.eos_token_id) == (vocabulary.pad, vocabulary.eos)


def test_what_transformers_has_no_head_for_is_named_with_the_reason(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(str(tiny_run), str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["causal"]
    assert capsys.readouterr().out.splitlines() == [
        f"causal: {tmp_path / 'out' / 'causal'}, a LlamaForCausalLM",
        "ahead: it predicts from the previous position, which no masked model of transformers does (not exported)",
        "masked: masked heads are known of albert, bert, electra, modernbert, roberta, not of llama (not exported)",
        "order: transformers has a head for sentence order on albert alone, from the first token (not exported)",
        "replaced: transformers has a head for replaced tokens on electra, not on llama (not exported)",
    ]


def test_objectives_that_read_a_prefix_are_named_with_the_reason(
    train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objectives = {"causal": CausalLM(), "prefix": PrefixLM(), "spans": SpanDenoising(layout="prefix")}
    export(str(train(backbone_of("llama"), objectives)), str(tmp_path / "out"))
    reason = "it reads a prefix both ways and the rest causally, as no causal class of transformers does (not exported)"
    assert capsys.readouterr().out.splitlines()[1:] == [f"prefix: {reason}", f"spans: {reason}"]


def test_nothing_is_left_where_nothing_can_be_exported(train: Any, tmp_path: Path) -> None:
    checkpoint = train(backbone_of("bert"), {"causal": CausalLM()})
    with pytest.raises(ValueError, match=r"found none \(causal: bert is an encoder, .*\): train CausalLM"):
        export(str(checkpoint), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_transformers_computes_otherwise_is_refused(train: Any, tmp_path: Path) -> None:
    backbone = backbone_of("gemma3_text", final_logit_softcapping=0.5)  # ours are not capped
    with pytest.raises(ValueError, match="Gemma3ForCausalLM gives other logits than this head"):
        export(str(train(backbone, {"causal": CausalLM()})), str(tmp_path / "out"))


def test_output_must_be_new_or_empty_and_writable(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(str(tiny_run), str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"expected a new or an empty folder .* found .*empty in use: choose"):
        export(str(tiny_run), str(tmp_path / "empty"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"expected a folder that can be written for output, found .*file/out \("):
        export(str(tiny_run), str(tmp_path / "file" / "out"))


def test_an_unknown_objective_is_answered_with_those_there_are(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of ahead, causal, masked, .* found 'casual'"):
        export(str(tiny_run), str(tmp_path / "out"), objective="casual")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file"),
        ("text", "found a file of another kind"),
        ({"state_dict": {}}, "found another one"),
        ({"lm_objectives": {}}, r"found one of 0\.1: train anew"),
        (
            {"lm_objectives": {"format": "0.2"}, "state_dict": {}},
            r"expected [\w.-]+ in the checkpoint .*, found none",
        ),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_one_clear_line(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as raised:
        load_run(str(path))
    assert "\n" not in str(raised.value)


def test_a_tokenizer_survives_as_plain_text_and_names_cannot_leave_the_folder(tiny_run: Path, tmp_path: Path) -> None:
    tokenizer = load_run(str(tiny_run)).tokenizer
    tokenizer.save_pretrained(tmp_path)
    files = read_tokenizer_files(tmp_path)
    assert tokenizer_from_files(files).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(ValueError, match=r"expected names of .*, found '\.\./evil\.json'"):
        tokenizer_from_files(files | {"../evil.json": "{}"})
