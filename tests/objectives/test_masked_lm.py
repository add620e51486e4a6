"""Masked tokens against the formula and against Hugging Face's own loss."""

import jsonargparse
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM
from utils import tiny

from lm_objectives.corruptions.masked_lm import TokenMasking
from lm_objectives.corruptions.span_lengths import Geometric, NGram, Poisson
from lm_objectives.objectives import CausalLM, MaskedLM, Objective
from lm_objectives.plugin import from_config, to_config


def head(objective: MaskedLM, hidden: Tensor, embedding: Tensor) -> Tensor:
    """BERT's head on every position."""
    if objective.transform is None:
        return hidden @ embedding.T
    dense, activation, norm = objective.transform
    assert isinstance(dense, nn.Linear) and isinstance(norm, nn.LayerNorm) and callable(activation)
    states = F.layer_norm(F.gelu(dense(hidden)), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return states @ embedding.T + objective.bias


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
@pytest.mark.parametrize("back", [0, 1])
def test_is_the_formula(family: str, back: int) -> None:
    """Oracle: log softmax over whole logits, in double precision, with all gradients."""
    on = tiny.backbone(family).double()
    objective = MaskedLM(0.3, predict_from="previous" if back else "same")
    tiny.built(objective, on).double()
    view = tiny.view(objective)
    [hidden] = on.encode([view])
    surprise = -head(objective, hidden, on.embedding).log_softmax(-1)
    rows, positions = view.label_positions // tiny.WINDOW, view.label_positions % tiny.WINDOW
    clean = torch.from_numpy(tiny.rows().input_ids)
    oracle = surprise[rows, positions, clean[rows, positions + back]].sum()
    ours = tiny.loss_sums(objective, on, view)["loss"]
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)
    tolerance = 1e-6 if family == "llama" else 1e-10  # llama's norms compute in single precision
    for own, other in zip(tiny.gradients(ours, on, objective), tiny.gradients(oracle, on, objective), strict=True):
        torch.testing.assert_close(own, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_is_hugging_faces_loss_of_the_same_weights(family: str) -> None:
    """Oracle: the family's own model for masked tokens, which takes the mean over labels that are not -100."""
    on = tiny.backbone(family).eval()
    objective = MaskedLM(0.3)
    tiny.built(objective, on)
    assert objective.transform is not None and objective.bias is not None
    theirs = AutoModelForMaskedLM.from_config(on.config, attn_implementation="sdpa").eval()
    base = getattr(theirs, theirs.base_model_prefix)
    base.load_state_dict(on.model.state_dict())
    dense, _, norm = objective.transform
    with torch.no_grad():
        objective.bias.normal_()
    own = {
        "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
        "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
        "modernbert": ("head.dense", "head.norm", "decoder"),
    }[family]
    theirs.get_submodule(own[0]).load_state_dict(dense.state_dict())
    theirs.get_submodule(own[1]).load_state_dict(norm.state_dict())
    decoder = theirs.get_submodule(own[2])
    with torch.no_grad():
        decoder.weight.copy_(on.embedding)
        decoder.bias.copy_(objective.bias)
    view = tiny.view(objective)
    labels = (
        torch.full_like(view.input_ids, -100)
        .flatten()
        .index_copy(0, view.label_positions, view.targets)
        .view_as(view.input_ids)
    )
    real = (torch.arange(tiny.WINDOW) < view.lengths[:, None]).long()
    segments = {} if family == "modernbert" else {"token_type_ids": view.token_type_ids}
    oracle = theirs(input_ids=view.input_ids, attention_mask=real, labels=labels, **segments).loss
    assert tiny.loss(objective, on, view).item() == pytest.approx(oracle.item(), rel=1e-5)


def test_from_the_previous_position_the_head_is_the_causal_one() -> None:
    on = tiny.backbone("llama")
    previous, causal = MaskedLM(predict_from="previous"), CausalLM()
    for objective in (previous, causal):
        tiny.built(objective, on)
        assert list(objective.parameters()) == []


def test_previous_needs_an_embedding_as_wide_as_the_states() -> None:
    on = tiny.backbone("electra", embedding_size=16)
    with pytest.raises(
        ValueError, match=r"^expected an embedding as wide as the hidden states .* found 16 and 32: set"
    ):
        tiny.built(MaskedLM(predict_from="previous"), on)
    assert tiny.loss(tiny.built(MaskedLM(), on), on, tiny.view(MaskedLM())).isfinite()


def test_initial_loss_is_ln_v() -> None:
    """Oracle: ln 30522 = 10.3262. The head's layer norm gives states of norm √32, and logits a spread of 0.02·√32."""
    on = tiny.backbone("bert", 30522)
    objective = tiny.built(MaskedLM(), on)
    assert objective.initial_loss() == pytest.approx(10.3262, abs=1e-4)
    view = tiny.view(objective, 100, 30522)
    assert tiny.loss(objective, on, view).item() == pytest.approx(10.3262, abs=0.05)


def test_settings_reach_the_corruption() -> None:
    corruption = MaskedLM(0.4, 0.7, 0.2, "previous", "word", NGram()).corruption
    assert corruption == TokenMasking(0.4, 0.7, 0.2, "previous", "word", NGram())
    with pytest.raises(ValueError, match=r"^expected a mask_rate between 0 and 1, both excluded, found 0\.0: 0\.15"):
        MaskedLM(0.0)


def test_settings_survive_a_checkpoint() -> None:
    described = to_config(MaskedLM([[0.0, 0.3], [1.0, 0.15]], unit="word", lengths=Geometric(0.3)))
    assert from_config(described).corruption == TokenMasking(
        [[0.0, 0.3], [1.0, 0.15]], unit="word", lengths=Geometric(0.3)
    )


@pytest.mark.parametrize(
    ("settings", "oracle"),
    [
        ("lengths: NGram", TokenMasking(lengths=NGram())),
        ("lengths: {class_path: Poisson, init_args: {mean: 2.0}}", TokenMasking(lengths=Poisson(2.0))),
        ("mask_rate: [[0.0, 0.3], [1.0, 0.15]]", TokenMasking([[0.0, 0.3], [1.0, 0.15]])),
        ("mask_rate: [[0, 0.3], [500, 0.15]], unit: word", TokenMasking([[0, 0.3], [500, 0.15]], unit="word")),
    ],
)
def test_settings_from_yaml(settings: str, oracle: TokenMasking) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objectives", type=dict[str, Objective])
    text = f"objectives: {{masked: {{class_path: MaskedLM, init_args: {{{settings}}}}}}}"
    made = parser.instantiate_classes(parser.parse_string(text)).objectives["masked"].corruption
    assert made == oracle
    if isinstance(made.rate, list):  # a step is a whole number, a fraction is not
        assert [type(when) for when, _ in made.rate] == [type(when) for when, _ in oracle.rate]
