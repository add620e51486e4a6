"""What is used of an exported folder reads a text as training read it."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast, pipeline
from utils.families import FAMILIES, SEQ2SEQ, view_of
from utils.small_corpus import write_corpus

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.data.cache import open_cache
from lm_objectives.data.preparation.documents import DocumentPiece
from lm_objectives.data.preparation.encode import Encoder
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.tokenizer import exported_tokenizer, make_tokenizer, vocabulary_of
from lm_objectives.export import export
from lm_objectives.objectives import MaskedLM
from lm_objectives.training.run import LoadedRun, load_run

TEXT = "The dog ran home. A cat came to the sea."
BOTH = {"add_bos_token": True, "add_eos_token": True}


@pytest.fixture(scope="module")
def causal(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedRun, Path]:
    """A run and the folder of its next-token objective."""
    folder = tmp_path_factory.mktemp("export") / "causal"
    export(str(tiny_run), str(folder), "causal")
    return load_run(str(tiny_run)), folder


@pytest.fixture(scope="module", params=["bert", "roberta", "electra", "albert", "modernbert"])
def masked(
    request: pytest.FixtureRequest, train: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedRun, Path]:
    """A run of an encoder and the folder of its masked objective; RoBERTa with one kind of segment, as published."""
    changes = {"type_vocab_size": 1} if request.param == "roberta" else {}
    folder = tmp_path_factory.mktemp("export") / "masked"
    checkpoint = str(train(Backbone(request.param, FAMILIES[request.param] | changes), {"masked": MaskedLM()}))
    export(checkpoint, str(folder), "masked")
    return load_run(checkpoint), folder


def document(run: LoadedRun, text: str) -> list[int]:
    """Tokens of a document as the run reads it."""
    return run.tokenizer(text)["input_ids"]


@torch.no_grad()
def our_logits(run: LoadedRun, name: str, ids: list[int]) -> torch.Tensor:
    """Of each position of one row, by the objective's own head."""
    module = run.module
    objective: Any = module.objectives[name]
    [hidden] = module.backbone.encode([view_of(torch.tensor([ids]), objective.corruption.attention)])
    if name == "causal":
        return objective.logits(hidden[0], embedding=module.backbone.embedding)
    return F.linear(objective.transform(hidden[0]), module.backbone.embedding, objective.bias)


def test_text_generation_goes_on_from_bos_and_the_prompt(causal: tuple[LoadedRun, Path]) -> None:
    """Oracle: the likeliest token by our head, one after another, behind an unfinished document."""
    run, folder = causal
    writer: Any = pipeline("text-generation", model=str(folder))
    ids = writer.preprocess("The dog ran")["input_ids"][0].tolist()
    assert ids == document(run, "The dog ran")[:-1] == [run.module.vocabulary.bos, *ids[1:]]
    for _ in range(5):
        ids.append(int(our_logits(run, "causal", ids)[-1].argmax()))
    [said] = writer("The dog ran", max_new_tokens=5, do_sample=False, return_tensors=True)
    assert said["generated_token_ids"] == ids[: len(said["generated_token_ids"])]
    assert len(said["generated_token_ids"]) == len(ids) or ids[-1] == run.module.vocabulary.eos


def test_a_whole_document_scores_what_the_objective_says(causal: tuple[LoadedRun, Path]) -> None:
    """Oracle: cross-entropy of our head's logits, bos to eos."""
    run, folder = causal
    tokenizer = AutoTokenizer.from_pretrained(folder, **BOTH)
    inputs = tokenizer(TEXT, return_tensors="pt")
    ids = document(run, TEXT)
    assert inputs["input_ids"][0].tolist() == ids
    ours = F.cross_entropy(our_logits(run, "causal", ids)[:-1], torch.tensor(ids[1:]))
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()(**inputs, labels=inputs["input_ids"]).loss
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("context", ["", "The dog ran home."])
def test_lm_eval_scores_a_continuation_that_training_could_have_read(
    causal: tuple[LoadedRun, Path], context: str
) -> None:
    """What `HFLM` of lm-eval 0.4.13 encodes in `loglikelihood`, written down here, since it is no dependency.

    An empty context is the prefix token, bos where there is one, and the continuation is encoded without special
    tokens; else the continuation is what the whole has more than the context, both as the tokenizer encodes them.
    """
    run, folder = causal
    tokenizer, continuation = AutoTokenizer.from_pretrained(folder), " A cat came." if context else "A cat came."
    if context:
        whole, before = tokenizer.encode(context + continuation), tokenizer.encode(context)
        scored = whole[len(before) :]
    else:
        before, scored = [tokenizer.bos_token_id], tokenizer.encode(continuation, add_special_tokens=False)
    assert before + scored == document(run, context + continuation)[:-1]


def test_fill_mask_reads_the_text_with_a_mask_in_a_tokens_place(masked: tuple[LoadedRun, Path]) -> None:
    """Oracle: the likeliest tokens by our head on the document's own tokens, of which one is the mask."""
    run, folder = masked
    filler: Any = pipeline("fill-mask", model=str(folder))
    ids = document(run, "The dog ran home.")
    place = ids.index(run.tokenizer.convert_tokens_to_ids("\u0120ran"))
    ids[place] = run.module.vocabulary.mask
    encoded = filler.preprocess("The dog [MASK] home.")
    assert encoded["input_ids"][0].tolist() == ids
    if getattr(run.module.backbone.config, "type_vocab_size", 0) > 1:
        assert encoded["token_type_ids"].tolist() == [[0] * len(ids)]
    right = our_logits(run, "masked", ids)[place].softmax(-1).topk(5)
    told = filler("The dog [MASK] home.")
    assert [guess["token"] for guess in told] == right.indices.tolist()
    assert [guess["score"] for guess in told] == pytest.approx(right.values.tolist(), abs=1e-5)


def test_two_texts_are_two_segments_where_the_model_has_them(masked: tuple[LoadedRun, Path]) -> None:
    run, folder = masked
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pair = tokenizer("The dog ran.", "A cat came.")
    first, second = document(run, "The dog ran."), document(run, "A cat came.")[1:]
    assert pair["input_ids"] == first + second
    segments = getattr(run.module.backbone.config, "type_vocab_size", 0) > 1
    assert pair.get("token_type_ids") == ([0] * len(first) + [1] * len(second) if segments else None)
    inputs = tokenizer("The dog ran.", "A cat came.", return_tensors="pt")
    assert AutoModelForMaskedLM.from_pretrained(folder)(**inputs).logits.isfinite().all()


def test_what_looks_like_a_special_token_is_the_text_of_training_where_asked(causal: tuple[LoadedRun, Path]) -> None:
    """Oracle: the encoder that makes a corpus's tokens."""
    run, folder = causal
    text = "The [MASK] ran home [EOS]."
    encode = Encoder(run.tokenizer.backend_tokenizer, run.module.vocabulary, "en")
    right = encode([DocumentPiece(text)]).text.arrays(run.module.vocabulary.size)["tokens"].tolist()
    assert AutoTokenizer.from_pretrained(folder, split_special_tokens=True, **BOTH)(text)["input_ids"] == right


def test_the_folder_as_datas_tokenizer_makes_the_same_tokens_again(
    causal: tuple[LoadedRun, Path], tmp_path: Path
) -> None:
    """Documents keep the end that the folder's own tokenizer leaves open."""
    run, folder = causal
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    run.tokenizer.save_pretrained(tmp_path / "own")
    made = [
        open_cache(
            prepare(
                str(tmp_path / kind.name),
                str(corpus),
                text_field="text",
                language="en",
                tokenizer=str(kind),
                validation_share=0.3,
                split_seed=0,
                documents="file",
            )
        )
        for kind in (tmp_path / "own", folder)
    ]
    texts = {json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").splitlines()}
    for cache in made:
        assert cache.vocabulary == made[0].vocabulary
        assert cache.tokenizer(TEXT)["input_ids"] == document(run, TEXT)
        assert cache.training.tokens.tolist() == made[0].training.tokens.tolist()
        starts = cache.training.documents
        documents = {tuple(cache.training.tokens[a:b]) for a, b in pairwise(starts)}
        assert documents <= {tuple(document(run, text)) for text in texts}


@pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ])
def test_each_familys_folder_loads_the_tokenizer_that_was_written(family: str, causal: Any, tmp_path: Path) -> None:
    """transformers chooses a tokenizer's class by the model's family too, and some build their own in its place."""
    run, _ = causal
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}), encoding="utf-8")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    vocabulary = run.module.vocabulary
    exported_tokenizer(run.tokenizer, [vocabulary.bos], [], names).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert json.loads(tokenizer.backend_tokenizer.to_str()) == json.loads((tmp_path / "tokenizer.json").read_text())
    assert tokenizer("The\tdog\n ran")["input_ids"] == document(run, "The\tdog\n ran")[:-1]
    assert tokenizer.special_tokens_map == run.tokenizer.special_tokens_map
    assert tokenizer.model_input_names == names


def test_what_a_tokenizer_of_somebody_else_had_of_its_own_stays(tmp_path: Path) -> None:
    """BERT's kind: lower case, an unknown token, [CLS] and [SEP], which training takes for bos and eos."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {token: number for number, token in enumerate([*special, "the", "dog"])}
    model = Tokenizer(models.WordPiece(vocab=words, unk_token="[UNK]"))
    model.normalizer, model.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    model.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    kinds = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=model, mask_token="[MASK]", **kinds).save_pretrained(tmp_path / "given")
    made = make_tokenizer(str(tmp_path / "given"), ())
    vocabulary = vocabulary_of(made)
    exported_tokenizer(made, [vocabulary.bos], [vocabulary.eos], ["input_ids"]).save_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.tokenize("The DOG ran [MASK]") == ["the", "dog", "[UNK]", "[MASK]"]
    assert tokenizer("The DOG ran")["input_ids"] == [2, 5, 6, 1, 3]
    assert {kind: getattr(tokenizer, kind) for kind in kinds} == kinds
