"""Fresh weights are as wide as each system's paper or its code says, in backbones and in heads.

A sample of n normal numbers has a standard deviation within 5 / √(2n) of its own, relatively, but once in two million.
"""

import math
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining
from utils.families import VOCABULARY

from lm_objectives import Backbone, Pretraining
from lm_objectives.objectives import CausalLM, MaskedLM, Objective, ReplacedToken, SentenceOrder
from lm_objectives.views import Vocabulary

LAYERS, WIDE, HIDDEN, HEADS = 4, 128, 256, 4
TWO_SIGMA = 0.87962566  # standard deviation of a normal that is cut at two of them
IDS = Vocabulary(size=500, pad=0, bos=1, eos=2, mask=3, special=VOCABULARY.special)
SIZE: dict[str, Any] = {
    "hidden_size": WIDE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
}
RESIDUAL = 0.02 / math.sqrt(2 * LAYERS)

# Sizes, the standard deviation of most weights, and that of those whose names have a part.
# GPT-2: Radford et al. 2019, section 2.3, 1/√N at the N = 2 · layers residual projections, and .02 as in GPT. BERT and
# its kin: .02 in their codes, there cut at two sigma, which transformers leaves out. ModernBERT: in its code, cut so.
# Llama: transformers' own. T5: each map by its fan-in, the query by the attention's scale too, embeddings by 1,
# as in Mesh TensorFlow. BART: .02 in its code.
BACKBONES: dict[str, tuple[dict[str, Any], float, dict[str, float]]] = {
    "gpt2": ({"n_embd": WIDE, "n_layer": LAYERS, "n_head": HEADS}, 0.02, {"c_proj": RESIDUAL}),
    "llama": (SIZE, 0.02, {}),
    "bert": (SIZE, 0.02, {}),
    "roberta": (SIZE, 0.02, {}),
    "albert": (SIZE | {"embedding_size": 64}, 0.02, {}),
    "electra": (SIZE | {"embedding_size": 64}, 0.02, {}),
    "modernbert": (SIZE, TWO_SIGMA * 0.02, {"Wo": TWO_SIGMA * RESIDUAL}),
    "t5": (
        {"d_model": WIDE, "d_ff": HIDDEN, "d_kv": 16, "num_layers": LAYERS, "num_heads": HEADS},
        WIDE**-0.5,
        {"shared": 1.0, "Attention.q": (WIDE * 16) ** -0.5, "Attention.o": (HEADS * 16) ** -0.5, ".wo": HIDDEN**-0.5},
    ),
    "bart": (
        {"d_model": WIDE, "encoder_layers": LAYERS, "decoder_layers": LAYERS}
        | {"encoder_ffn_dim": HIDDEN, "decoder_ffn_dim": HIDDEN}
        | {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS},
        0.02,
        {},
    ),
}


class OnAnotherDevice(SingleDeviceStrategy):
    """Has modules made on a device that draws no numbers, as Lightning has them made on a GPU, which draws others."""

    def tensor_init_context(self, empty_init: bool | None = None) -> torch.device:
        return torch.device("meta")


def assert_spread(weights: Tensor, expected: float, name: str) -> None:
    assert weights.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weights.numel())), name


def assert_fresh(model: nn.Module, usual: float, others: dict[str, float]) -> None:
    """Biases of 0, gains of 1, and matrices as wide as expected."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert_spread(parameter, next((std for part, std in others.items() if part in name), usual), name)
        else:
            assert bool((parameter == (0.0 if "bias" in name else 1.0)).all()), name


def built(family: str) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(family, BACKBONES[family][0])
    backbone.setup(IDS, 32)
    return backbone


@pytest.mark.parametrize("family", BACKBONES)
def test_backbone(family: str) -> None:
    size, usual, others = BACKBONES[family]
    torch.manual_seed(0)
    if family in ("t5", "bart"):
        model = AutoModel.from_config(AutoConfig.for_model(family, vocab_size=IDS.size, **size))
    else:
        model = built(family).model
    assert_fresh(model, usual, others)


HEADS_OF: list[tuple[str, type[Objective], float]] = [
    ("llama", CausalLM, 0.02),
    ("llama", SentenceOrder, 0.02),
    ("bert", MaskedLM, 0.02),
    ("roberta", MaskedLM, 0.02),
    ("electra", MaskedLM, 0.02),
    ("electra", ReplacedToken, 0.02),
    ("albert", MaskedLM, 0.02),
    ("albert", SentenceOrder, 0.02),
    ("modernbert", MaskedLM, TWO_SIGMA * RESIDUAL),
]


@pytest.mark.parametrize(("family", "objective", "usual"), HEADS_OF)
def test_head(family: str, objective: type[Objective], usual: float) -> None:
    head = objective()
    head.setup(built(family), IDS)
    assert any(parameter.ndim == 2 for parameter in head.parameters())
    head_alone = nn.ModuleDict({n: part for n, part in head.named_children() if n != "generator"})
    assert_fresh(head_alone, usual, {})


# Where reference classes keep the dense layers of their heads.
REFERENCES = [
    ("bert", AutoModelForPreTraining, ("cls.predictions.transform.dense", "cls.seq_relationship"), 0.02),
    ("roberta", AutoModelForMaskedLM, ("lm_head.dense",), 0.02),
    ("albert", AutoModelForPreTraining, ("predictions.dense", "sop_classifier.classifier"), 0.02),
    ("electra", AutoModelForMaskedLM, ("generator_predictions.dense",), 0.02),
    ("electra", AutoModelForPreTraining, ("discriminator_predictions.dense",), 0.02),
    ("modernbert", AutoModelForMaskedLM, ("head.dense",), TWO_SIGMA * RESIDUAL),
]


@pytest.mark.parametrize(("family", "auto", "paths", "usual"), REFERENCES)
def test_heads_of_reference_classes(family: str, auto: Any, paths: tuple[str, ...], usual: float) -> None:
    """They are as wide as the table says ours shall be."""
    tokens = {f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}
    torch.manual_seed(0)
    model = auto.from_config(AutoConfig.for_model(family, vocab_size=IDS.size, **tokens | BACKBONES[family][0]))
    for path in paths:
        assert_spread(model.get_submodule(path).weight, usual, path)


def test_weights_depend_on_the_seed_alone_and_on_no_device(train: Any) -> None:
    """Oracle: the run that was made on the CPU, bit for bit after two steps."""
    states = []
    for settings in ({}, {"strategy": OnAnotherDevice("cpu")}):
        checkpoint = train(Backbone("llama", SIZE), {"causal": CausalLM()}, **settings)
        states.append(torch.load(checkpoint, weights_only=True)["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_weights_depend_on_no_other_objective() -> None:
    """Oracle: the run with one objective alone. Another beside it, before it or after, changes no weight."""
    made = {}
    for names in ("b", "ab", "bc", "cb"):
        module = Pretraining(Backbone("bert", SIZE), {name: MaskedLM() for name in names})
        torch.manual_seed(5)
        module.build(IDS, 32, 10)
        made[names] = {
            key: value for key, value in module.state_dict().items() if key.startswith(("backbone", "objectives.b"))
        }
    for state in made.values():
        assert all(torch.equal(state[key], value) for key, value in made["b"].items())
    assert not torch.equal(module.objectives["b"].transform[0].weight, module.objectives["c"].transform[0].weight)
