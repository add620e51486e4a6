"""Parameter groups over three families of models, and schedules against closed forms and transformers' own."""

from typing import Any

import jsonargparse
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from lm_objectives.optimisation import Schedule, parameter_groups

VOCABULARY = 40


def bert() -> nn.Module:
    size: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=8, **size))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=8, n_embd=16, n_layer=2, n_head=2))


def llama() -> nn.Module:
    size: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=False, **size))


# Counted by hand. BERT: 6 matrices a layer and the head's transform; words, positions, types. GPT-2: 4 a layer; words,
# positions. Llama, untied: 7 a layer; words and vocabulary head.
COUNTS = [(bert, 2 * 6 + 1, 3), (gpt2, 2 * 4, 2), (llama, 2 * 7, 2)]


@pytest.mark.parametrize(("make", "matrices", "tables"), COUNTS, ids=lambda value: getattr(value, "__name__", None))
def test_every_parameter_has_one_role(make: Any, matrices: int, tables: int) -> None:
    model = make()
    groups = parameter_groups(model, VOCABULARY)
    assert [group["role"] for group in groups] == ["matrix", "embedding", "vector"]
    assert [len(group["params"]) for group in groups[:2]] == [matrices, tables]
    members = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(members) == sorted({id(parameter) for parameter in model.parameters()})
    assert all(parameter.ndim < 2 for parameter in groups[2]["params"])
    assert ["weight_decay" in group for group in groups] == [False, False, True]


@pytest.mark.parametrize("make", [bert, gpt2, llama])
def test_order_is_the_modules(make: Any) -> None:
    model = make()
    place = {id(parameter): index for index, parameter in enumerate(model.parameters())}
    for group in parameter_groups(model, VOCABULARY):
        places = [place[id(parameter)] for parameter in group["params"]]
        assert places == sorted(places)


def test_frozen_parameters_and_empty_roles_are_left_out() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4), nn.Conv1d(4, 4, 2))
    model[1].requires_grad_(False)
    groups = parameter_groups(model, 5)
    assert [(group["role"], len(group["params"])) for group in groups] == [
        ("embedding", 1),
        ("tensor", 1),
        ("vector", 1),
    ]


def test_torch_optimizers_take_the_groups_and_vectors_do_not_decay() -> None:
    model = nn.Linear(3, 3)
    before = [parameter.detach().clone() for parameter in (model.weight, model.bias)]
    optimizer = torch.optim.AdamW(parameter_groups(model, 7), lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(model.bias, before[1])


@pytest.mark.parametrize("warmup", [1, 5, 0.25])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_equals_transformers_one_step_ahead(kind: Any, warmup: int | float) -> None:
    """Transformers' step t + 1 is ours at t: theirs spends step 0 at rate 0 and stops one short of the end."""
    steps, final = 20, 0.1 if kind == "cosine" else 0.0
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    whole = warmup if isinstance(warmup, int) else 5
    if kind == "cosine":
        theirs = get_cosine_with_min_lr_schedule_with_warmup(optimizer, whole, steps, min_lr_rate=final)
    else:
        theirs = get_linear_schedule_with_warmup(optimizer, whole, steps)
    schedule = Schedule(kind=kind, warmup=warmup, final=final)
    expected = [theirs.lr_lambdas[0](step + 1) for step in range(steps)]
    assert [schedule.factor(step, steps) for step in range(steps)] == pytest.approx(expected, abs=1e-12)


def test_literal_factors() -> None:
    """The formulas of the docstring, worked by hand."""

    def factors(steps: int, **settings: Any) -> list[float]:
        return [Schedule(**settings).factor(step, steps) for step in range(steps)]

    assert factors(6, kind="linear", warmup=2, final=0.2) == pytest.approx([0.5, 1, 0.8, 0.6, 0.4, 0.2])
    assert factors(5, kind="linear", warmup=0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert factors(5, kind="cosine", warmup=0, final=0.5) == pytest.approx([1, 0.926777, 0.75, 0.573223, 0.5], abs=1e-6)
    assert factors(4, kind="constant", warmup=0.5) == [0.5, 1, 1, 1]
    assert factors(2, kind="cosine", warmup=4) == [0.25, 0.5]
    assert factors(1, kind="cosine", warmup=0) == [1]
    assert Schedule(final=0.1).factor(105, 100) == pytest.approx(0.1)
    assert [Schedule(kind="constant", warmup=2).factor(step, -1) for step in (0, 1, 10**9)] == [0.5, 1, 1]


def test_scheduler_multiplies_each_groups_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.01)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = Schedule(kind="linear", warmup=2).lr_scheduler(optimizer, 4)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert seen == [pytest.approx([factor, 0.01 * factor]) for factor in (0.5, 1, 0.5, 0)]


def test_command_line_tells_steps_from_shares() -> None:
    def read(schedule: Schedule) -> Schedule:
        return schedule

    for text, expected in (("1", 1), ("0.1", 0.1), ("0", 0)):
        arguments = [f"--schedule.warmup={text}", "--schedule.kind=linear"]
        schedule = jsonargparse.auto_cli(read, args=arguments)
        assert schedule == Schedule(kind="linear", warmup=expected)
        assert type(schedule.warmup) is type(expected)


BAD = [
    ({"warmup": 1.0}, "expected a warmup share in [0, 1), found 1.0: write an int such as 100 to count steps"),
    ({"warmup": float("nan")}, "expected a warmup share in [0, 1), found nan: write an int such as 100 to count steps"),
    ({"warmup": -1}, "expected a warmup of 0 steps or more, found -1: write an int of steps or a share in [0, 1)"),
    ({"warmup": True}, "expected a warmup of 0 steps or more, found True: write an int of steps or a share in [0, 1)"),
    ({"final": 1.5}, "expected a final factor in [0, 1], found 1.5: write a share of the peak learning rate"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Schedule(**settings)
    assert str(caught.value) == message


def test_bad_kind() -> None:
    """Set behind the constructor's back, since the type checker of the tests would speak first."""
    schedule = Schedule()
    object.__setattr__(schedule, "kind", "step")
    with pytest.raises(ValueError) as caught:
        schedule.__post_init__()
    assert str(caught.value) == "expected a kind among linear, cosine, constant, found step: choose one of them"


ENDLESS = [
    ({"warmup": 2}, "expected an end of training for a cosine decay, found none: set max_steps or kind=constant"),
    (
        {"kind": "constant", "warmup": 0.05},
        "expected an end of training for a warmup share of 0.05, found none: "
        "set max_steps or write warmup as an int of steps",
    ),
]


@pytest.mark.parametrize(("settings", "message"), ENDLESS)
def test_training_without_end(settings: dict[str, Any], message: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError) as caught:
        Schedule(**settings).lr_scheduler(optimizer, -1)
    assert str(caught.value) == message
