"""Hostile numbers in settings: oracle, the ranges of the table; all else is one line, and nothing is written."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from utils.command_line import complaint, fit, run

from lm_objectives import (
    FAMO,
    IMTLL,
    ByDifficulty,
    CausalLM,
    ClassificationObjective,
    Competence,
    DynamicWeightAverage,
    Geometric,
    GradNorm,
    LRSchedule,
    MaskedLM,
    NGram,
    Poisson,
    PrefixLM,
    RandomWeights,
    ReplacedToken,
    SpanDenoising,
    Stages,
    TextDataModule,
    TextDenoising,
    TorchJD,
    Uncertainty,
    Uniform,
)
from lm_objectives.backbone.config import new_config
from lm_objectives.cli import lightning_cli
from lm_objectives.data.mixture import mixing_rates
from lm_objectives.errors import InputError
from lm_objectives.views import Vocabulary

HOSTILE = (float("nan"), float("inf"), -float("inf"), 0, -1, 1e300, 2**70)
VOCABULARY = Vocabulary(size=16, pad=0, bos=1, eos=2, mask=3)
ORDER = ["a", "b"]

# What makes the setting from a number, and the hostile ones that are in its range.
RANGES: dict[str, tuple[Any, tuple[float, ...]]] = {
    "share": (lambda x: CausalLM(share=x), (2**70,)),
    "share that moves": (lambda x: CausalLM(share=[[0, 1.0], [10, x]]), (0, 2**70)),
    "when a share moves": (lambda x: CausalLM(share=[[x, 1.0]]), (0, 2**70)),
    "label_smoothing": (lambda x: CausalLM(label_smoothing=x), (0,)),
    "classes": (lambda x: ClassificationObjective(CausalLM().corruption, classes=x), ()),
    "z_loss": (lambda x: CausalLM(z_loss=x), (0, 2**70)),
    "mask_rate": (lambda x: MaskedLM(mask_rate=x), ()),
    "mask_rate that moves": (lambda x: MaskedLM(mask_rate=[[0, x]]), ()),
    "mask_share": (lambda x: MaskedLM(mask_share=x, random_share=0.0), (0,)),
    "random_share": (lambda x: MaskedLM(mask_share=0.0, random_share=x), (0,)),
    "prefix_share": (lambda x: PrefixLM(prefix_share=x), ()),
    "generator": (lambda x: ReplacedToken(generator=x), ()),
    "discriminator_factor": (lambda x: ReplacedToken(discriminator_factor=x), (0, 2**70)),
    "noise_density": (lambda x: SpanDenoising(noise_density=x), ()),
    "mean_noise_span_length": (lambda x: SpanDenoising(mean_noise_span_length=x), (2**70,)),
    "rate of infilling": (lambda x: TextDenoising(rate=x), ()),
    "p of Geometric": (lambda x: Geometric(p=x), ()),
    "longest of Geometric": (lambda x: Geometric(longest=x), ()),
    "mean of Poisson": (lambda x: Poisson(mean=x), ()),
    "shortest of Uniform": (lambda x: Uniform(shortest=x), ()),
    "longest of Uniform": (lambda x: Uniform(longest=x), ()),
    "longest of NGram": (lambda x: NGram(longest=x), ()),
    "rate of Uncertainty": (lambda x: Uncertainty(learning_rate=x), ()),
    "alpha of GradNorm": (lambda x: GradNorm(alpha=x), (0,)),
    "rate of GradNorm": (lambda x: GradNorm(learning_rate=x), ()),
    "rate of FAMO": (lambda x: FAMO(learning_rate=x), ()),
    "decay of FAMO": (lambda x: FAMO(decay=x), (0,)),
    "rate of IMTLL": (lambda x: IMTLL(learning_rate=x), ()),
    "temperature of DWA": (lambda x: DynamicWeightAverage(temperature=x), (2**70,)),
    "seed of RandomWeights": (lambda x: RandomWeights(seed=int(x)), (0, 2**70, 1e300)),
    "seed of TorchJD": (lambda x: TorchJD(seed=int(x)), (0, 2**70, 1e300)),
    "initial competence": (lambda x: Competence(ORDER, initial=x), ()),
    "duration of competence": (lambda x: Competence(ORDER, duration=x), (2**70,)),
    "plateau_tolerance": (lambda x: ByDifficulty(ORDER, plateau_tolerance=x), (0, 2**70)),
    "smoothing": (lambda x: ByDifficulty(ORDER, smoothing=x), (0,)),
    "factor of a stage": (lambda x: Stages({"a": [[0, x]]}), (0, 2**70)),
    "warmup": (lambda x: LRSchedule(warmup=x), (0, 2**70)),
    "min_lr_ratio": (lambda x: LRSchedule(min_lr_ratio=x), (0,)),
    "gamma": (lambda x: LRSchedule("step", milestones=[1], gamma=x), ()),
    "milestones": (lambda x: LRSchedule("step", milestones=[x]), (0, 2**70)),
    "hold_steps": (lambda x: LRSchedule("inverse_sqrt", hold_steps=x), (0, 2**70)),
    "decay_steps": (lambda x: LRSchedule("wsd", decay_steps=x), (0, 2**70)),
    "seq_len that moves": (lambda x: TextDataModule(seq_len=[[0, x]]), ()),
    "when seq_len moves": (lambda x: TextDataModule(seq_len=[[x, 32]]), (0, 2**70)),
    "corpus_weights": (lambda x: mixing_rates([5, 5], [1.0, x], None, None), (0, 2**70)),
    "corpus_temperature": (lambda x: mixing_rates([5, 5], None, x, None), (2**70,)),
    "num_hidden_layers": (lambda x: new_config("bert", {"num_hidden_layers": x}, VOCABULARY), (0,)),
    "hidden_dropout_prob": (lambda x: new_config("bert", {"hidden_dropout_prob": x}, VOCABULARY), (0,)),
}


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """A test that hangs fails."""

    def end(*_: Any) -> None:
        raise TimeoutError("a setting that hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize("name", RANGES)
def test_a_number_is_in_its_range_or_refused(name: str) -> None:
    make, inside = RANGES[name]
    for value in HOSTILE:
        if (name.startswith("seed") and value in (float("inf"), -float("inf"))) or (value != value and "seed" in name):
            continue  # the parser takes whole numbers alone
        if value in inside:
            make(value)
        else:
            with pytest.raises(InputError):
                make(value)
                pytest.fail(f"{name} takes {value}")


@pytest.mark.usefixtures("unchecked_signatures")
@pytest.mark.parametrize(
    ("kind", "name"),
    [(GradNorm, "alpha"), (GradNorm, "layer"), (Uncertainty, "learning_rate"), (CausalLM, "z_loss"), (Geometric, "p")],
)
def test_null_for_a_number_is_refused(kind: type, name: str) -> None:
    with pytest.raises(InputError, match=f"expected a value for {name} of .*, found null: leave it out for "):
        kind(**{name: None})


OPTIMIZER = "--model.optimizer"
LINES: dict[str, tuple[list[str], str]] = {
    "AdamW's rate": ([OPTIMIZER, "AdamW", f"{OPTIMIZER}.lr", ".inf"], "a finite lr of the optimizer"),
    "AdamW's decay": ([OPTIMIZER, "AdamW", f"{OPTIMIZER}.weight_decay", "1e300"], "a finite weight_decay"),
    "AdamW's eps": ([OPTIMIZER, "AdamW", f"{OPTIMIZER}.eps", ".inf"], "a finite eps"),
    "SGD's rate": ([OPTIMIZER, "SGD", f"{OPTIMIZER}.lr", ".nan"], "a finite lr"),
    "SGD's momentum": ([OPTIMIZER, "SGD", f"{OPTIMIZER}.momentum", "2"], "momentum of the optimizer from 0 to 1"),
    "SGD's dampening": ([OPTIMIZER, "SGD", f"{OPTIMIZER}.dampening", "-1"], "dampening of the optimizer from 0 to 1"),
    "Muon's rate": ([OPTIMIZER, "Muon", f"{OPTIMIZER}.lr", ".inf"], "lr of at least 0"),
    "Muon without a rate": ([OPTIMIZER, "Muon", f"{OPTIMIZER}.lr", "null"], "lr of at least 0, found None"),
    "Adafactor's clip": ([OPTIMIZER, "Adafactor", f"{OPTIMIZER}.clip_threshold", ".inf"], "clip_threshold above 0"),
    "balancer without a rate": (
        ["--model.balancer", "GradNorm", "--model.balancer.alpha", "null"],
        "alpha of GradNorm",
    ),
    "balancer's layer": (
        ["--model.balancer", "GradNorm", "--model.balancer.layer", str(2**70)],
        "a layer between",
    ),
    "weight of a corpus": (["--data.corpus_weights", "[.inf]"], "data.corpus_weights of at least 0"),
    "temperature": (["--data.corpus_temperature", "1e-300"], "data.corpus_temperature that gives finite rates"),
    "row length": (["--data.seq_len", "[[0, .nan]]"], "data.seq_len of whole tokens"),
    "vocabulary": (["--data.tokenizer", str(2**70)], "a vocabulary of at most 16777216"),
    "layers": (["--model.backbone.config.num_hidden_layers", "1000000000"], "num_hidden_layers from 0 to 1000"),
    "heads": (["--model.backbone.config.num_key_value_heads", str(2**70)], "num_key_value_heads from 0 to 1000"),
    "no heads": (["--model.backbone.config.num_attention_heads", "0"], "expected .*model.backbone.config"),
    "width": (["--model.backbone.config.hidden_size", str(2**70)], "hidden_size from 1 to 2147483647"),
    "positions": (["--model.backbone.config.max_position_embeddings", str(2**70)], "max_position_embeddings from 1 to"),
    "dropout": (["--model.backbone.config.attention_dropout", ".nan"], "attention_dropout from 0 to 1"),
    "vocabulary in the backbone": (
        ["--model.backbone.config.vocab_size", "500"],
        "no vocab_size in model.backbone.config",
    ),
    "a family's own size": (
        ["--model.backbone.config", "{hidden_size: 1000000000}"],
        "whose weights fit into the .* GiB",
    ),
    "rate in words": (["--model.optimizer", "AdamW", "--model.optimizer.lr", "nan"], "a number for model.optimizer.lr"),
    "share": (["--model.objectives.masked.share", ".inf"], "a share above 0, found inf"),
    "clipping": (
        ["--trainer.gradient_clip_val", ".inf"],
        "a finite trainer.gradient_clip_val of at least 0, found inf",
    ),
    "no epochs between": (
        ["--trainer.check_val_every_n_epoch", "0"],
        "trainer.check_val_every_n_epoch above 0, found 0",
    ),
    "devices": (["--trainer.devices", str(2**70)], "trainer settings that can be carried out here"),
    "boolean": (["--data.seq_len", "true"], "data.seq_len"),
    "text": (["--data.global_batch_size", ""], "data.global_batch_size"),
    "list": (["--data.validation_rows", "[1]"], "data.validation_rows"),
}


@pytest.fixture(scope="module")
def tokenized(place: Path) -> None:
    """The token cache, whose making would be told."""
    assert run("prepare", "--config", place / "tiny.yaml") == 0


@pytest.mark.usefixtures("unchecked_signatures", "tokenized")
@pytest.mark.parametrize("case", LINES)
def test_by_command_line_it_is_one_line(
    case: str, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning_cli.Trainer, "fit", lambda *_, **__: None)
    given, told = LINES[case]
    capfd.readouterr()
    assert fit(place, tmp_path / "run", *given) == 2
    line = complaint(capfd)
    assert re.search(told, line), line
    assert not (tmp_path / "run").exists()
