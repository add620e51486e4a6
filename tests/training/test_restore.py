"""`Pretraining.load_from_checkpoint` is the run: its optimizer, schedule, tokenizer and baselines."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from utils.callback_runs import different, state
from utils.exactness_runs import quiet
from utils.small_corpus import BACKBONE, ROWS, TOKENS, WINDOW, write_corpus

from lm_objectives import (
    Backbone,
    CausalLM,
    GradNorm,
    InitialWeights,
    InputError,
    LRSchedule,
    MaskedLM,
    Muon,
    Pretraining,
    TextDataModule,
)

FACTORIES = {
    "class": torch.optim.Adagrad,
    "partial": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "ours": partial(Muon, lr=0.01),
    "none": None,
}


def sgd(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("restore")
    write_corpus(place / "corpus.jsonl")
    return place


def new(optimizer: Any, **settings: Any) -> Pretraining:
    torch.manual_seed(0)
    schedule = LRSchedule("constant", warmup=0)
    objectives = {"causal": CausalLM(), "masked": MaskedLM()}
    return Pretraining(Backbone("llama", BACKBONE), objectives, optimizer=optimizer, lr_schedule=schedule, **settings)


def data(place: Path, corpus: str = "corpus.jsonl", tokenizer: Any = TOKENS, **settings: Any) -> TextDataModule:
    settings = {"seq_len": WINDOW, "global_batch_size": ROWS, "batch_multiple": 2, "cache": str(place)} | settings
    return TextDataModule(str(place / corpus), tokenizer=tokenizer, **settings)


def trainer(steps: int = 2, **settings: Any) -> L.Trainer:
    quiet_ones = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(
        max_steps=steps, accelerator="cpu", enable_checkpointing=False, num_sanity_val_steps=0,
        **{**quiet_ones, "limit_val_batches": 0} | settings,
    )  # fmt: skip


def fit(module: Pretraining, place: Path, steps: int, path: Path | None = None, **settings: Any) -> L.Trainer:
    made = trainer(steps, **settings)
    with quiet():
        made.fit(module, data(place), ckpt_path=path, weights_only=True)
    return made


def saved(module: Pretraining, place: Path, path: Path, steps: int = 2) -> Path:
    fit(module, place, steps).save_checkpoint(path)
    return path


@pytest.mark.parametrize("case", FACTORIES)
def test_a_loaded_module_goes_on_as_the_run(case: str, place: Path, tmp_path: Path) -> None:
    """Oracle: the run that was not stopped, bit for bit."""
    whole = new(FACTORIES[case])
    fit(whole, place, 4)
    path = saved(new(FACTORIES[case]), place, tmp_path / "two.ckpt")
    loaded = Pretraining.load_from_checkpoint(path, weights_only=True)
    assert loaded.lr_schedule == whole.lr_schedule
    assert loaded.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    fit(loaded, place, 4, path)
    assert different(state(loaded), state(whole)) == []


def test_a_function_is_asked_for_where_an_optimizer_is_needed(place: Path, tmp_path: Path) -> None:
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    loaded = Pretraining.load_from_checkpoint(path, weights_only=True)
    with quiet():
        trainer(limit_val_batches=1.0).validate(loaded, data(place), verbose=False)
    asked = r"trained with a function, \S*sgd, .*: give it as load_from_checkpoint\(path, optimizer=\.\.\.\)$"
    with pytest.raises(InputError, match=asked):
        fit(loaded, place, 4, path)
    loaded = Pretraining.load_from_checkpoint(path, weights_only=True, optimizer=sgd)
    assert fit(loaded, place, 4, path).global_step == 4


def held_out(module: Pretraining, on: TextDataModule, path: Path | None = None) -> dict[str, float]:
    with quiet():
        [found] = trainer(limit_val_batches=1.0).validate(module, on, ckpt_path=path, verbose=False, weights_only=True)
    return dict(found)


def test_baselines_are_those_of_the_training_text(place: Path, tmp_path: Path) -> None:
    """On the run's own text and on another one, whichever is made first, and however the module got the checkpoint."""
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    own = data(place)
    first = held_out(Pretraining.load_from_checkpoint(path, weights_only=True), own)
    loaded = Pretraining.load_from_checkpoint(path, weights_only=True)
    assert first == held_out(loaded, data(place)) == held_out(new(sgd), data(place), path)
    text = (place / "corpus.jsonl").read_text(encoding="utf-8")
    (place / "other.jsonl").write_text(re.sub(r"\bdog\b", "sea", text), encoding="utf-8")

    def other() -> TextDataModule:
        return data(place, "other.jsonl", str(own.text.folder / "tokenizer"))

    loaded = Pretraining.load_from_checkpoint(path, weights_only=True)
    assert held_out(loaded, other()) == held_out(new(sgd), other(), path)
    counts = new(sgd)
    held_out(counts, other())
    assert counts.objectives["causal"].target_counts.tolist() != loaded.objectives["causal"].target_counts.tolist()


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "rate": ({"optimizer": partial(torch.optim.SGD, lr=0.2)}, {}, r"found model.optimizer.lr 0.2, was 0.1: give"),
    "balancer": ({"balancer": GradNorm()}, {}, r"model.balancer lm_objectives.GradNorm, was lm_objectives.Fixed: give"),
    "precision": ({}, {"precision": "bf16-true"}, r"trainer.precision bf16-true, was 32-true: give"),
    "clipping": ({}, {"gradient_clip_val": 1.0}, r"trainer.gradient_clip_val 1.0, was None: give"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_experiment_is_refused_in_python_too(case: str, place: Path, tmp_path: Path) -> None:
    module, settings, told = REFUSED[case]
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    with pytest.raises(InputError, match=told):
        fit(new(**{"optimizer": sgd} | module), place, 4, path, **settings)


def test_a_run_that_goes_on_has_weights_of_its_own(place: Path, tmp_path: Path) -> None:
    """As where a scheduler starts a run again by the command that began it: the file is not read."""
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    fit(new(sgd), place, 4, path, callbacks=[InitialWeights("absent.ckpt")])


def test_torchs_seed_is_the_checkpoints(place: Path, tmp_path: Path) -> None:
    """Python has no setting of it: what a process has drawn before decides nothing."""
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    module = new(sgd)
    torch.manual_seed(7)
    fit(module, place, 4, path)
    assert module.seed == 0


def test_a_checkpoint_of_another_activation_is_not_scored(place: Path, tmp_path: Path) -> None:
    """The shapes of weights do not show it."""
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    other = Pretraining(
        Backbone("llama", BACKBONE | {"hidden_act": "gelu"}), {"causal": CausalLM(), "masked": MaskedLM()}
    )
    with pytest.raises(
        InputError, match=r"found one of another: model.backbone.config.hidden_act gelu, was silu; give"
    ):
        held_out(other, data(place), path)


def test_a_checkpoint_of_other_tokens_is_not_scored(place: Path, tmp_path: Path) -> None:
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    with pytest.raises(InputError, match=r"expected the tokenizer that .*two.ckpt was trained with, found another one"):
        held_out(new(sgd), data(place, split_seed=3), path)


def test_weights_begin_a_new_run(place: Path, tmp_path: Path) -> None:
    """Oracle: the checkpoint, since a rate of 0 moves nothing; fit again goes on from where the run is."""
    path = saved(new(sgd), place, tmp_path / "two.ckpt")
    module = new(partial(torch.optim.AdamW, lr=0.0), balancer=GradNorm())
    made = fit(module, place, 1, callbacks=[InitialWeights(str(path))])
    began = torch.load(path, weights_only=True)["state_dict"]
    now = module.state_dict()
    assert made.global_step == 1
    assert all(torch.equal(began[name], now[name]) for name in began if name.startswith(("backbone.", "objectives.")))
