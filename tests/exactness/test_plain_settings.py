"""Settings given as numbers of numpy and torch, and as paths, make the same as Python's own do."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from utils import tiny
from utils.balancer_cases import CLASSES, INITIAL, NAMES, OWN, STEPS, totals
from utils.exactness_runs import quiet

import lm_objectives
from lm_objectives import (
    Backbone,
    CausalLM,
    Fixed,
    LRSchedule,
    MaskedLM,
    Muon,
    Objective,
    Pretraining,
    Stages,
    TextDataModule,
    TokenMasking,
    Vocabulary,
)
from lm_objectives.plugin import Plugin, to_config
from lm_objectives.training.checkpoint import read_checkpoint
from lm_objectives.training.run import load_run

pytestmark = pytest.mark.usefixtures("unchecked_signatures")

NEEDED: dict[str, dict[str, Any]] = {  # what has no default
    "Backbone": {"model_type": "llama", "config": {"hidden_size": 32, "rms_norm_eps": 1e-5, "attention_bias": False}},
    "ByDifficulty": {"order": ["a", "b"], "target_loss": {"a": 2.5}},
    "ClassificationObjective": {"corruption": TokenMasking()},
    "Competence": {"order": ["a", "b"], "duration": 30},
    "Curriculum": {"pace": Stages({"a": [[0, 1.0]]})},
    "Fixed": {"weights": {"a": 1.0, "b": 2}},
    "LanguageModelObjective": {"corruption": TokenMasking()},
    "MaskedLM": {"mask_rate": [[0.0, 0.3], [100, 0.15]], "share": 2},
    "Stages": {"points": {"a": [[0, 1.0], [0.5, 0]]}},
    "TokenMasking": {"rate": [[0, 0.3], [1.0, 0.15]]},
    "TorchJD": {"weighting": "CAGrad", "arguments": {"c": 0.5}},
}
SHIPPED = {
    name: kind
    for name in lm_objectives.__all__
    if isinstance(kind := getattr(lm_objectives, name), type)
    and issubclass(kind, (Plugin, LRSchedule))
    and not inspect.isabstract(kind)
}


def numpy(value: Any) -> Any:
    """The same with numpy's scalars, at every depth."""
    kinds = {bool: np.bool_, int: np.int64, float: np.float64, str: np.str_}
    return kinds[type(value)](value) if type(value) in kinds else value


def tensors(value: Any) -> Any:
    """The same with tensors of no dimensions, at every depth."""
    return torch.tensor(value, dtype=torch.double if isinstance(value, float) else None) if numbers(value) else value


def numbers(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def deep(turn: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: deep(turn, item) for key, item in value.items()}
    return type(value)(deep(turn, item) for item in value) if isinstance(value, (list, tuple)) else turn(value)


def arguments(kind: type) -> dict[str, Any]:
    """All arguments of a class with their defaults, and what it needs."""
    parameters = inspect.signature(kind).parameters.values()
    return {
        p.name: p.default for p in parameters if p.default is not p.empty and "factory" not in repr(p)
    } | NEEDED.get(kind.__name__, {})


def described(made: Any) -> str:
    return repr(to_config(made if isinstance(made, Plugin) else asdict(made)))


either = pytest.mark.parametrize("turn", [numpy, tensors])


def test_all_shipped_ones_are_here() -> None:
    assert {"CausalLM", "Curriculum", "FAMO", "NGram", "TextInfilling", "Backbone", "LRSchedule"} <= SHIPPED.keys()
    assert len(SHIPPED) > 35 or sorted(SHIPPED) == []


@either
@pytest.mark.parametrize("name", SHIPPED)
def test_every_plugin_is_described_the_same(name: str, turn: Callable[[Any], Any]) -> None:
    """Oracle: the description of one that is made of Python's own numbers, to the type of each."""
    if name == "TorchJD":
        pytest.importorskip("torchjd")
    given = arguments(SHIPPED[name])
    made = SHIPPED[name](**deep(turn, given))
    assert described(made) == described(SHIPPED[name](**given))


@either
@pytest.mark.parametrize("name", [name for name, kind in SHIPPED.items() if issubclass(kind, Objective)])
def test_every_objective_makes_the_same_rows(name: str, turn: Callable[[Any], Any]) -> None:
    """Oracle: rows of one that is made of Python's own numbers, half way through a training."""
    given = arguments(SHIPPED[name])
    views, starts = [], np.arange(tiny.WINDOW) % 4 == np.zeros((6, 1))
    for made in (SHIPPED[name](**given), SHIPPED[name](**deep(turn, given))):
        corruption = made.corruption.at_step(50, 100)
        ids = tuple((token, 4 + n) for n, token in enumerate(corruption.special_tokens(tiny.WINDOW)))
        words = {"starts_word": np.arange(67) % 2 == 0, "breaks_line": np.zeros(67, dtype=bool)}
        vocabulary = replace(tiny.vocabulary(), named_tokens=ids, **words)
        views.append(corruption.corrupt(replace(tiny.rows(), sentence_starts=starts), vocabulary))
    one, other = views
    assert torch.equal(one.input_ids, other.input_ids) and torch.equal(one.targets, other.targets)
    assert one.counts == other.counts


@either
@pytest.mark.parametrize("name", OWN)
def test_every_balancer_gives_the_same_weights(name: str, turn: Callable[[Any], Any]) -> None:
    """Oracle: the weights of one that is made of Python's own numbers."""
    kind, given = CLASSES[name]
    history = []
    for turned in (lambda value: value, turn):

        def remade(value: Any, turned: Any = turned) -> Any:
            return type(value)(**deep(turned, value._arguments)) if isinstance(value, Plugin) else deep(turned, value)

        balancer = kind(**{key: remade(value) for key, value in given.items()})
        balancer.setup(NAMES, INITIAL, STEPS)
        for step in range(6):
            balancer.update(totals(step))
        history.append(balancer.weights(6))
    assert torch.equal(*history)


def test_points_may_be_an_array() -> None:
    points = [[0.0, 0.5], [1.0, 0.25]]
    for given in (np.array(points), torch.tensor(points, dtype=torch.double), [np.array(pair) for pair in points]):
        assert described(MaskedLM(mask_rate=given, share=given)) == described(MaskedLM(mask_rate=points, share=points))
        assert TextDataModule(seq_len=np.array([[0.0, 16.0], [0.5, 32.0]])).seq_len == 32
        assert LRSchedule("step", milestones=np.array([0.5, 0.75])).milestones == (0.5, 0.75)


def test_folders_may_be_paths() -> None:
    data = TextDataModule([Path("a"), "b"], tokenizer=Path("c"), cache=Path("d"))
    assert repr([data.corpus, data.tokenizer_source, data.cache]) == "[['a', 'b'], 'c', 'd']"
    assert Backbone(pretrained=Path("a")).pretrained == "a" and TextDataModule(Path("a")).corpus == "a"


@either
def test_a_schedule_has_the_same_factors(turn: Callable[[Any], Any]) -> None:
    """An int counts steps and a float is a share, of whatever package it is."""
    for given in (
        {"kind": "step", "warmup": 3, "milestones": [10, 0.75], "gamma": 0.5},
        {"kind": "wsd", "decay_steps": 7},
    ):
        one, other = LRSchedule(**given), LRSchedule(**deep(turn, given))
        assert one == other and repr(one) == repr(other)
        assert [one.factor(step, 40) for step in range(40)] == [other.factor(step, 40) for step in range(40)]


def trained(root: Path, turn: Callable[[Any], Any], folder: Callable[[str], Any]) -> Path:
    """Two steps of a module whose settings are all turned; its checkpoint."""
    (root / "texts").mkdir(exist_ok=True)
    for n in range(40):
        (root / "texts" / f"{n}.txt").write_text(
            f"The dog number {n} ran home. A cat sat there. " * 4, encoding="utf-8"
        )
    data = TextDataModule(
        corpus=[folder(str(root / "texts"))],
        cache=folder(str(root / "cache")),
        **deep(
            turn,
            {
                "tokenizer": 300,
                "corpus_weights": [1.0],
                "corpus_temperature": None,
                "seq_len": [[0, 8], [1, 16]],
                "packing": True,
                "global_batch_size": 8,
                "batch_multiple": 2,
                "num_workers": 0,
                "validation_share": 0.25,
                "validation_rows": 4,
                "seed": 3,
            },
        ),
    )
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    masked = MaskedLM(deep(turn, [[0.0, 0.5], [1.0, 0.25]]))
    torch.manual_seed(0)
    module = Pretraining(
        Backbone("llama", deep(turn, config)),
        {turn("causal"): CausalLM(share=turn(2)), "masked": masked},
        Fixed({"causal": turn(1.5), "masked": turn(1)}),
        partial(Muon, **deep(turn, {"lr": 0.02, "betas": (0.9, 0.95), "weight_decay": 0.125})),
        LRSchedule("linear", warmup=turn(1), min_lr_ratio=turn(0.5)),
    )
    with quiet():
        trainer = L.Trainer(
            max_steps=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            default_root_dir=folder(str(root)),
        )
        trainer.fit(module, data)
        trainer.save_checkpoint(root / "a.ckpt")
    return root / "a.ckpt"


def flat(value: Any) -> str:
    """All of a checkpoint as text, each tensor with all of its numbers."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{value.tolist()}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {flat(item)}' for key, item in value.items())}}}"
    return f"{type(value)}[{', '.join(map(flat, value))}]" if isinstance(value, (list, tuple)) else repr(value)


@either
def test_a_checkpoint_opens_and_is_that_of_plain_numbers(tmp_path: Path, turn: Callable[[Any], Any]) -> None:
    """Oracle: all of the checkpoint of the same training with Python's own numbers and text."""
    plain = trained(tmp_path, lambda value: value, str).rename(tmp_path / "plain.ckpt")
    turned = trained(tmp_path, turn, Path)
    one, other = (read_checkpoint(path, "resume")[0] for path in (plain, turned))
    assert flat(one) == flat(other)
    assert load_run(turned).module.names == ("causal", "masked")


def test_an_optimizer_that_a_function_makes_has_plain_settings(tmp_path: Path) -> None:
    """The function's own numbers are seen only in the optimizer that it returns."""
    module = Pretraining(
        Backbone(
            "llama", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        ),
        {"masked": MaskedLM()},
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=np.float32(0.5), betas=(np.float64(0.5), 0.75)),
        lr_schedule=LRSchedule("constant", warmup=0),
    )
    module.build(tiny.vocabulary(), np.int64(16), np.int64(4))
    made = module.configure_optimizers()
    states = [made["optimizer"].state_dict(), made["lr_scheduler"]["scheduler"].state_dict()]
    torch.save(states, tmp_path / "states")
    optimizer, schedule = torch.load(tmp_path / "states", weights_only=True)
    assert optimizer["param_groups"][0]["lr"] == 0.5 and schedule["base_lrs"][0] == 0.5
    saved: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    assert type(saved["lm_objectives"]["seq_len"]) is type(saved["lm_objectives"]["steps"]) is int


def test_a_vocabulary_of_numpys_ids_is_plain() -> None:
    ids = Vocabulary(**deep(numpy, {"size": 9, "pad": 0, "bos": 1, "eos": 2, "mask": 3, "special": (0, 1)}))
    assert repr(ids.to_dict()) == repr(Vocabulary(9, 0, 1, 2, 3, (0, 1)).to_dict())
