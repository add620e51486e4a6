"""Each numeric setting with hostile values, as its parser and its class take it.

Oracle: a value is in the table of those that mean something, or it is told in one short line at once. A backbone whose
numbers are taken is made, and its hidden states are finite.
"""

import inspect
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentError
from transformers import CONFIG_MAPPING
from utils.families import FAMILIES, SEQ2SEQ, VOCABULARY

import lm_objectives
from lm_objectives import Backbone, Balancer, CausalLM, LRSchedule, Objective, TextDataModule
from lm_objectives.backbone.config import count_parameters
from lm_objectives.balancers.curriculum import PacingFunction
from lm_objectives.cli.arguments import Parser
from lm_objectives.cli.messages import user_message
from lm_objectives.corruptions.span_lengths import SpanLengths
from lm_objectives.data.tokenizer import check_tokenizer
from lm_objectives.errors import InputError
from lm_objectives.optim.factory import make_optimizer

LARGE = str(2**70)
HOSTILE = ("nan", ".inf", "-.inf", "0", "-1", "1e300", LARGE, "true", "", "null", "[]")

# By setting, the values that mean something.
TAKEN: dict[str, set[str]] = {
    "share": {LARGE},
    "label_smoothing": {"0"},
    "z_loss": {"0", LARGE},
    "mask_share": {"0"},
    "random_share": {"0"},
    "prefix_share": {"null"},
    "mean_noise_span_length": {LARGE},
    "discriminator_factor": {"0", LARGE},
    "alpha": {"0"},
    "layer": {"0", "-1", LARGE},  # how many there are is known when the backbone is made
    "decay": {"0"},
    "temperature": {LARGE},
    "window": {LARGE},
    "seed of RandomWeights": {"0", LARGE},
    "seed of TorchJD": {"0", LARGE},
    "duration": {LARGE},
    "plateau_tolerance": {"0", LARGE},
    "target_loss": {"null"},
    "smoothing": {"0"},
    "weights": {"null"},
    "warmup": {"0", LARGE},
    "min_lr_ratio": {"0"},
    "hold_steps": {"0"},
    "milestones": {"[]"},
    "corpus_weights": {"null", "[]"},
    "corpus_temperature": {LARGE, "null"},
    "corpus_cap": {"null"},
    "batch_multiple": {"null"},
    "num_workers": {"0"},
    "validation_rows": {"0"},
    "seed of TextDataModule": {"0", "-1", LARGE},
    "split_seed": {"0", "-1", LARGE, "null"},
    "lr": {"0", LARGE},
    "adamw_lr": {"0", LARGE},
    "weight_decay": {"0", LARGE},
    "momentum": {"0"},
    "dampening": {"0"},
    "clip_threshold": {LARGE},
    "decay_rate": {"-1"},
    "eps of AdamW": {"0", LARGE},
    "eps of Muon": {LARGE},
}

GIVEN: dict[str, dict[str, Any]] = {  # arguments that have no default
    "ClassificationObjective": {"corruption": CausalLM().corruption, "classes": 2},
    "LanguageModelObjective": {"corruption": CausalLM().corruption},
    "Competence": {"order": ["a", "b"]},
    "ByDifficulty": {"order": ["a", "b"]},
}


def _concrete(kind: type) -> Iterator[type]:
    for name in dir(lm_objectives):
        found = getattr(lm_objectives, name)
        if isinstance(found, type) and issubclass(found, kind) and not inspect.isabstract(found) and found is not kind:
            yield found


PLUGINS = [
    *(found for kind in (Objective, Balancer, PacingFunction, SpanLengths) for found in _concrete(kind)),
    *(LRSchedule, TextDataModule, lm_objectives.Muon, lm_objectives.Adafactor, torch.optim.AdamW, torch.optim.SGD),
]


def _make(kind: type, settings: dict[str, Any]) -> None:
    if issubclass(kind, torch.optim.Optimizer):
        parameters = {"params": [torch.nn.Parameter(torch.ones(2, 2))]}
        make_optimizer(partial(kind, **settings), [parameters])
        return
    made: Any = kind(**settings)
    if isinstance(made, TextDataModule):
        check_tokenizer(made.tokenizer_source)


def _is_taken(attempt: Any, told: list[str]) -> bool:
    """Whether an attempt succeeds; one that does not says why in one short line, and neither takes long."""
    begun = time.process_time()
    try:
        attempt()
    except (ArgumentError, InputError) as error:
        line = user_message(error)
        assert line is not None and "\n" not in line and len(line) < 300, line
        assert line.split()[0] == "expected" or " expects " in line, line
        told.append(line)
        return False
    finally:
        assert time.process_time() - begun < 5
    return True


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize("kind", PLUGINS, ids=lambda kind: kind.__name__)
def test_a_number_means_something_or_is_told(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(kind, "x", skip=set(GIVEN.get(kind.__name__, ())))
    numeric = [
        action.dest.removeprefix("x.")
        for action in parser._actions
        if action.dest.startswith("x.")
        and not action.dest.endswith(".help")
        and any(word in str(getattr(action, "_typehint", "")) for word in ("int", "float"))
    ]
    for name in numeric:
        given = GIVEN.get(kind.__name__, {})

        def attempt(text: str, name: str = name, given: dict[str, Any] = given) -> None:
            parsed = parser.parse_args([f"--x.{name}={text}"])
            _make(kind, given | {name: parsed[f"x.{name}"]})

        taken, told = set(), []
        for text in HOSTILE:
            if _is_taken(partial(attempt, text), told):
                taken.add(text)
        expected = TAKEN.get(f"{name} of {kind.__name__}", TAKEN.get(name, set()))
        assert taken == expected, (name, told)


SIZES = {family: FAMILIES[family] for family in ("llama", "gpt2", "bert")} | {"t5": SEQ2SEQ["t5"]}
OF_ALL = set(inspect.signature(CONFIG_MAPPING["llama"].__mro__[1].__init__).parameters)  # of no family alone


@pytest.mark.parametrize("family", SIZES)
def test_a_backbone_of_hostile_numbers_is_finite_or_told(family: str) -> None:
    default: Any = CONFIG_MAPPING[family]()
    known = inspect.signature(type(default).__init__).parameters
    numeric = [
        name
        for name in {*known, *SIZES[family]} - OF_ALL
        if isinstance(getattr(default, name, None), (int, float)) and not isinstance(getattr(default, name), bool)
    ]
    assert len(numeric) > 5
    values = (float("nan"), float("inf"), -float("inf"), 0, -1, 1e300, 2**70, True, "", None, [])
    for name in sorted(numeric):
        for value in values:

            def attempt(name: str = name, value: Any = value) -> None:
                backbone = Backbone(family, {**SIZES[family], name: value})
                count_parameters(backbone.early_config())
                backbone.setup(VOCABULARY, seq_len=8)
                ids = torch.arange(4, 12)[None]
                decoder = {"decoder_input_ids": ids} if backbone.is_encoder_decoder else {}
                hidden = backbone.model.eval()(ids, **decoder).last_hidden_state
                assert hidden.isfinite().all(), (name, value)

            _is_taken(attempt, [])


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("llama", {"hidden_size": 10**9, "num_attention_heads": 1}),
        ("gpt2", {"n_layer": 10**9}),
        ("gpt2", {"n_positions": 2**31 - 1}),
        ("llama", {"intermediate_size": 2**31 - 1, "hidden_size": 2**20}),
        ("bert", {"vocab_size": 40}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": -1.0}}),
    ],
)
def test_sizes_beyond_memory_are_told_before_they_are_made(family: str, sizes: dict[str, Any]) -> None:
    told: list[str] = []
    assert not _is_taken(lambda: count_parameters(Backbone(family, sizes).early_config()), told)
    assert "model.backbone.config" in told[0]
