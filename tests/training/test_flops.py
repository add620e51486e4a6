"""Model FLOPs against formulas by hand, and against torch's counter over a forward and a backward pass.

Rows are of different lengths: what is computed for padding counts.
"""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from utils.families import SENTINELS as VOCABULARY
from utils.ragged import pad_rows

from lm_objectives import Backbone, Pretraining
from lm_objectives.corruptions.random import derive_seed, row_keys
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
from lm_objectives.training import flops
from lm_objectives.training.flops import FlopCounter, training_flops
from lm_objectives.views import Rows, View

T, V, D, F, LAYERS = 12, 67, 32, 48, 2
_WIDE = {"num_hidden_layers": LAYERS, "hidden_size": D, "num_attention_heads": 4, "intermediate_size": F}
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _WIDE | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "mixtral": _WIDE | {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
    "bert": _WIDE,
    "electra": _WIDE | {"embedding_size": 16},
    "albert": _WIDE | {"embedding_size": 16},
    "t5": {"d_model": D, "num_heads": 4, "d_kv": 8, "d_ff": F, "num_layers": LAYERS},
    "bart": {"d_model": D, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "max_position_embeddings": 40}
    | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": F, "decoder_ffn_dim": F},
}


def built(family: str, objectives: dict[str, Objective]) -> Pretraining:
    torch.manual_seed(0)
    module = Pretraining(Backbone(family, _FAMILIES[family]), objectives)
    module.build(VOCABULARY, T, 10)
    return module.train()


def views_of(module: Pretraining, count: int = 6, seed: int = 0) -> dict[str, View]:
    """Rows of 6 to 12 tokens, with sentences and segments; those of guests hold their host's ids."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(6, T + 1, (count,), generator=generator).tolist()
    texts = [torch.randint(4, 57, (length,), generator=generator).numpy() for length in lengths]
    ids, sizes = pad_rows(texts, T, 0)
    pairs = {"token_type_ids": (ids % 2), "labels": sizes % 2}
    views: dict[str, View] = {}
    for name, source in module.sources.items():
        rows = Rows(row_keys(derive_seed(name, seed), sizes), ids, sizes, sentence_starts=ids % 4 == 0)
        if isinstance(module.objectives[name], NextSentence | SentenceOrder):
            rows = replace(rows, **pairs)
        views[name] = source.corruption.corrupt(rows, VOCABULARY)
    for name, source in module.sources.items():
        if source.shares_rows_with:
            views[source.shares_rows_with] = replace(views[source.shares_rows_with], input_ids=views[name].input_ids)
    return views


def attention(queries: int, keys: int, dim: int = D) -> int:
    """Scores and values."""
    return 2 * 2 * queries * keys * dim


def layers(matrices: int) -> int:
    """A row through all layers."""
    return LAYERS * (2 * matrices * T + attention(T, T))


LLAMA = layers(2 * D * D + 2 * D * D // 2 + 3 * D * F)  # half as many keys and values as queries
BERT = layers(4 * D * D + 2 * D * F)


def written(view: View) -> int:
    """An encoder's rows, and a decoder's, which reads the encoder's states as keys and values."""
    read, write = view.input_ids.shape[1], view.decoder_labels.shape[1]  # type: ignore[union-attr]
    encoder = 2 * (4 * D * D + 2 * D * F) * read + attention(read, read)
    decoder = 2 * (6 * D * D + 2 * D * F) * write + 2 * 2 * D * D * read
    decoder += attention(write, write) + attention(write, read)
    return len(view.input_ids) * LAYERS * (encoder + decoder) + 2 * D * V * len(view.label_positions)


def pairs(view: View) -> int:
    return len(view.input_ids) * 2 * (D * D + 2 * D)


def replaced(view: View, body: int, generator: int, reads: int, dim: int) -> int:
    """Forward: the generator's rows, its head at masked positions, the backbone's rows, its head everywhere."""
    head = len(view.label_positions) * 2 * (dim * reads + reads * V)
    return len(view.input_ids) * (generator + body + T * 2 * (D * D + D)) + head


def sampled(view: View, reads: int) -> int:
    """Logits alone, once more, and never backward."""
    return len(view.label_positions) * 2 * reads * V


def generator(matrices: int, dim: int) -> int:
    return LAYERS * (2 * matrices * T + attention(T, T, dim))


HALF_LLAMA = 2 * D * 16 * T + generator(2 * 16 * 16 + 2 * 16 * 16 // 2 + 3 * 16 * 24, 16)  # and a projection into it
HALF_ELECTRA = generator(4 * 16 * 16 + 2 * 16 * 24, 16)  # which reads embeddings that are as wide as it is
INTO_ELECTRA = 2 * 16 * D * T

Hand = Callable[[dict[str, View]], int]
CASES: dict[str, tuple[str, dict[str, Objective], Hand]] = {
    "causal": (
        "llama",
        {"it": CausalLM()},
        lambda v: 3 * (len(v["it"].input_ids) * LLAMA + 2 * D * V * len(v["it"].label_positions)),
    ),
    "prefix": (
        "llama",
        {"it": PrefixLM()},
        lambda v: 3 * (len(v["it"].input_ids) * LLAMA + 2 * D * V * len(v["it"].label_positions)),
    ),
    "masked": (
        "llama",
        {"it": MaskedLM(0.3, label_smoothing=0.1, z_loss=1e-4)},
        lambda v: 3 * (len(v["it"].input_ids) * LLAMA + 2 * (D * D + D * V) * len(v["it"].label_positions)),
    ),
    "masked, previous": (
        "llama",
        {"it": MaskedLM(0.3, predict_from="previous")},
        lambda v: 3 * (len(v["it"].input_ids) * LLAMA + 2 * D * V * len(v["it"].label_positions)),
    ),
    "masked by ALBERT": (
        "albert",
        {"it": MaskedLM(0.3)},
        lambda v: (
            3
            * (len(v["it"].input_ids) * (2 * 16 * D * T + BERT) + 2 * (D * 16 + 16 * V) * len(v["it"].label_positions))
        ),
    ),
    "order": ("bert", {"it": SentenceOrder()}, lambda v: 3 * (len(v["it"].input_ids) * BERT + pairs(v["it"]))),
    "next sentence, masked on its rows": (
        "bert",
        {"it": NextSentence(), "guest": MaskedLM(0.3, mask_share=0.0, shares_rows_with="it")},
        lambda v: (
            3 * (len(v["it"].input_ids) * BERT + pairs(v["it"]) + 2 * (D * D + D * V) * len(v["guest"].label_positions))
        ),
    ),
    "replaced": (
        "llama",
        {"it": ReplacedToken(0.3, generator=0.5)},
        lambda v: 3 * replaced(v["it"], LLAMA, HALF_LLAMA, D, 16) + sampled(v["it"], D),
    ),
    "replaced by ELECTRA": (
        "electra",
        {"it": ReplacedToken(0.3, generator=0.5)},
        lambda v: 3 * replaced(v["it"], INTO_ELECTRA + BERT, HALF_ELECTRA, 16, 16) + sampled(v["it"], 16),
    ),
    "spans": ("t5", {"it": SpanDenoising(0.3)}, lambda v: 3 * written(v["it"])),
    "text": ("bart", {"it": TextDenoising(unit="token")}, lambda v: 3 * written(v["it"])),
    "prefix, written": ("t5", {"it": PrefixLM(layout="encoder-decoder")}, lambda v: 3 * written(v["it"])),
    "causal and masked": (
        "llama",
        {"causal": CausalLM(), "masked": MaskedLM(0.3)},
        lambda v: CASES["causal"][2]({"it": v["causal"]}) + CASES["masked"][2]({"it": v["masked"]}),
    ),
}
each = pytest.mark.parametrize("case", CASES)


def test_of_a_mixture_the_experts_that_a_token_goes_to() -> None:
    """By hand: attention as Llama's, a router over 4, and 2 experts."""
    module = built("mixtral", {"it": CausalLM()})
    view = views_of(module)["it"]
    row = layers(3 * D * D + 4 * D + 2 * 3 * D * F)
    assert training_flops(module, {"it": view}) == 3 * (
        len(view.input_ids) * row + 2 * D * V * len(view.label_positions)
    )


@each
def test_by_hand(case: str) -> None:
    family, objectives, hand = CASES[case]
    module = built(family, objectives)
    views = views_of(module)
    assert any(view.padded for view in views.values())
    assert training_flops(module, views) == hand(views)


@each
def test_torchs_counter_over_a_forward_and_a_backward_pass(case: str) -> None:
    """With attention as plain products, which torch counts on every device."""
    family, objectives, _ = CASES[case]
    module = built(family, objectives)
    views = views_of(module)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outcomes = module.forward_views(views)
        torch.stack([part for outcome in outcomes.values() for part in outcome.loss_sums.values()]).sum().backward()
    assert training_flops(module, views) == counter.get_total_flops()


@each
def test_a_kind_is_counted_until_it_can_be_calculated(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: each micro-batch counted by itself; rows and numbers of scored positions differ."""
    family, objectives, _ = CASES[case]
    module, counted = built(family, objectives), []
    monkeypatch.setattr(flops, "training_flops", lambda m, v: counted.append(v) or training_flops(m, v))
    counter = FlopCounter()
    for seed, rows in enumerate((4, 6, 5, 9, 4, 8)):
        views = views_of(module, rows, seed)
        assert counter(module, views) == training_flops(module, views)
    if not module.backbone.is_encoder_decoder:  # whose rows here differ in length
        assert len(counted) <= 2 * len(objectives)


def test_an_objective_that_joins_is_another_kind() -> None:
    """Oracle: the formula, without the guest and with it."""
    family, objectives, hand = CASES["next sentence, masked on its rows"]
    module, counter = built(family, objectives), FlopCounter()
    views = views_of(module)
    alone = {"it": views["it"]}
    assert counter(module, alone) == 3 * (len(views["it"].input_ids) * BERT + pairs(views["it"]))
    assert counter(module, views) == hand(views)
    assert counter(module, alone) < counter(module, views)


def test_counting_changes_nothing() -> None:
    module = built("bert", {"it": MaskedLM()})  # which drops out
    before, state = torch.get_rng_state(), {name: value.clone() for name, value in module.state_dict().items()}
    training_flops(module, views_of(module))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_what_is_compiled_stays_so() -> None:
    """A mode around a compiled call would have torch run it uncompiled for good."""
    graphs: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        del inputs
        return lambda *arguments: graphs.append(1) or graph(*arguments)

    weight = nn.Parameter(torch.ones(3, 4))
    compiled = torch.compile(lambda x: x @ weight, backend=backend)
    module: Any = SimpleNamespace(
        objectives={}, device=torch.device("cpu"), forward_views=lambda views: compiled(torch.ones(2, 3))
    )
    for calls in (1, 2):
        assert training_flops(module, {}) == 3 * 2 * 2 * 3 * 4
        compiled(torch.ones(2, 3))
        assert len(graphs) == calls


def test_a_module_in_evaluation_is_refused() -> None:
    module = built("bert", {"it": MaskedLM()})
    views = views_of(module)
    with pytest.raises(ValueError) as caught:
        training_flops(module.eval(), views)
    assert str(caught.value) == (
        "expected a module in training mode to count FLOPs of, found one in evaluation: call train()"
    )
