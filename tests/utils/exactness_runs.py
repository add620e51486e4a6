"""One training of a tiny model as plain data, so that any process can carry it out and hand back its state."""

import contextlib
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from lm_objectives import Backbone, LRSchedule, Pretraining, TextDataModule
from lm_objectives.balancers import (
    FAMO,
    IMTLL,
    Balancer,
    ByDifficulty,
    Competence,
    Curriculum,
    DynamicWeightAverage,
    Fixed,
    GeometricMean,
    GradNorm,
    RandomWeights,
    Stages,
    TorchJD,
    Uncertainty,
)
from lm_objectives.data.dataset import Batch
from lm_objectives.objectives import CausalLM, MaskedLM, ReplacedToken, SentenceOrder, TextDenoising
from lm_objectives.objectives.base import Objective
from lm_objectives.optim import Adafactor, Muon
from lm_objectives.training.step import StepMetrics
from utils.exactness_objectives import Poisoned, SilentTokens, UnequalTokens
from utils.exactness_rows import row_digests

WINDOW, ROWS, UNIT = 24, 32, 4
STEPS = 20

_STAGES = {
    "unequal": [[0, 0.5], [0.5, 1.0]],
    "replaced": [[0, 0.0], [4, 0.0], [12, 1.0]],
    "order": [[0, 1.0], [9, 0.0]],
}
_ORDER = ["unequal", "masked", "order", "replaced"]

BALANCERS: dict[str, Callable[[], Balancer]] = {
    "Fixed": lambda: Fixed({"unequal": 2.0, "masked": 1.0, "order": 0.5, "replaced": 0.1}),
    "Uncertainty": lambda: Uncertainty(0.05),
    "UncertaintyLiebel": lambda: Uncertainty(0.05, "liebel"),
    "GradNorm": GradNorm,
    "GradNormFirstLayer": lambda: GradNorm(alpha=0.5, layer=0),
    "Stages": lambda: Curriculum(Stages(_STAGES)),
    "StagesGradNorm": lambda: Curriculum(Stages(_STAGES, "cosine"), GradNorm()),
    "StagesUPGrad": lambda: Curriculum(Stages(_STAGES), TorchJD("UPGrad")),
    "Competence": lambda: Curriculum(Competence(_ORDER), Uncertainty(0.05)),
    "CompetenceGradNorm": lambda: Curriculum(Competence(_ORDER, initial=0.3), GradNorm()),
    "ByDifficulty": lambda: Curriculum(ByDifficulty(_ORDER, {"unequal": 6.0}, window=3, smoothing=0.5)),
    "ByDifficultyGradNorm": lambda: Curriculum(
        ByDifficulty(["masked", "unequal", "order", "replaced"], {"masked": 99.0}, window=2, smoothing=0.5), GradNorm()
    ),
    "RandomWeights": lambda: RandomWeights(3),
    "DynamicWeightAverage": lambda: DynamicWeightAverage(window=3),
    "FAMO": FAMO,
    "GeometricMean": GeometricMean,
    "IMTLL": lambda: IMTLL(0.05),
    "UPGrad": lambda: TorchJD("UPGrad"),
    "MGDA": lambda: TorchJD("MGDA"),
    "PCGrad": lambda: TorchJD("PCGrad"),
    "CAGrad": lambda: TorchJD("CAGrad", {"c": 0.5}),
    "IMTLG": lambda: TorchJD("IMTLG"),
    "AlignedMTL": lambda: TorchJD("AlignedMTL"),
    "NashMTL": lambda: TorchJD("NashMTL"),
    "GradVac": lambda: TorchJD("GradVac"),
    "ExcessMTL": lambda: TorchJD("ExcessMTL"),
}

# Their code differs from others' here in a formula alone, of which tests/balancers has the numbers.
ALIKE = {"UncertaintyLiebel", "GradNormFirstLayer", "StagesUPGrad", "CompetenceGradNorm", "MGDA", "PCGrad", "CAGrad"}
ALIKE |= {"IMTLG", "AlignedMTL", "NashMTL", "GradVac", "ExcessMTL"}

OBJECTIVES: dict[str, Callable[[], dict[str, Objective]]] = {
    "four": lambda: {
        "unequal": UnequalTokens(share=3.0),
        "masked": MaskedLM(0.3, share=2.0),
        "order": SentenceOrder(pooling="difference", share=1.0),
        "replaced": ReplacedToken(generator=0.5, discriminator_factor=10.0, share=1.0),
    },
    # ALBERT's pair on one pass, and two with rows of their own
    "shared": lambda: {
        "unequal": UnequalTokens(share=3.0),
        "masked": MaskedLM(0.3, shares_rows_with="order"),
        "order": SentenceOrder(share=2.0),
        "replaced": ReplacedToken(generator=0.5, discriminator_factor=10.0, share=1.0),
    },
    "shipped": lambda: {
        "causal": CausalLM(share=3.0),
        "masked": MaskedLM(predict_from="previous", share=1.0),
        "order": SentenceOrder(share=2.0),
        "replaced": ReplacedToken(generator=0.5, share=1.0),
    },
    "ramps": lambda: {
        "unequal": UnequalTokens(share=[[0, 3.0], [9, 1.0]]),
        "masked": MaskedLM([[0.0, 0.4], [1.0, 0.1]], share=[[0, 1.0], [10, 3.0]]),
        "order": SentenceOrder(),
        "replaced": ReplacedToken([[0, 0.3], [7, 0.15]], generator=0.5, share=1.0),
    },
    "silent": lambda: {"unequal": UnequalTokens(share=2.0), "silent": SilentTokens()},
    "seldom": lambda: {
        "unequal": UnequalTokens(share=15.0),
        "masked": MaskedLM(0.3),
        "order": SentenceOrder(share=9.0),
    },
    "two shares": lambda: {"causal": CausalLM(share=3.0), "masked": MaskedLM(0.3)},
    "written": lambda: {
        "text": TextDenoising(unit="token", share=2.0),
        "infilled": TextDenoising(0.15, unit="token", permute_sentences=False),
    },
    # rows for the decoder until step 12, then for the encoder alone
    "written and masked": lambda: {
        "text": TextDenoising(unit="token", share=[[0, 3.0], [4, 3.0], [12, 0.0]]),
        "masked": MaskedLM(0.3),
    },
    **{
        f"poisoned_{kind}": lambda kind=kind: {
            "unequal": UnequalTokens(share=2.0),
            "poisoned": Poisoned(kind, at=6),
            "masked": MaskedLM(0.3),
        }
        for kind in ("nan", "inf", "gradient")
    },
    "poisoned_on_rank_1": lambda: {"unequal": UnequalTokens(), "poisoned": Poisoned("nan", at=6, rank=1)},
}

DATA: dict[str, dict[str, Any]] = {
    "packed": {},
    "one document a row": {"packing": False},
    "growing window": {"seq_len": [[0, 8], [3, 12], [8, WINDOW]]},
    "two corpora": {"corpus": ["corpus.txt", "other.txt"], "corpus_weights": [0.3, 0.7]},
}

_SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZES |= {"intermediate_size": 32, "max_position_embeddings": 64}
_T5: dict[str, Any] = {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 32}
_BART: dict[str, Any] = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
_BART |= {"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "max_position_embeddings": 64}

OBJECTIVES["four turned"] = lambda: dict(reversed(OBJECTIVES["four"]().items()))

# GPT-NeoX computes in its own dtype throughout, where Llama's norms go through single precision; and it can do without
# biases of keys, whose gradient is 0 and whose rounding noise Adam would raise to full steps.
BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neox": ("gpt_neox", _SIZES | {"attention_bias": False}),
    "llama": ("llama", _SIZES | {"num_key_value_heads": 2}),
    "bert": ("bert", _SIZES | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
    "dropout": ("bert", _SIZES | {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}),
    "t5": ("t5", _T5 | {"dropout_rate": 0.0}),
    "t5 dropout": ("t5", _T5 | {"dropout_rate": 0.1}),
    "bart": ("bart", _BART | {"dropout": 0.0}),
    "bart dropout": ("bart", _BART | {"dropout": 0.1}),
}

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "adamw": lambda groups: AdamW(groups, lr=3e-3, weight_decay=0.1),
    "adam": lambda groups: Adam(groups, lr=3e-3),
    "sgd": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "adafactor": lambda groups: Adafactor(groups, lr=0.03),
    "muon": lambda groups: Muon(groups, weight_decay=0.1),
    "plain": lambda groups: SGD(groups, lr=1.0),
}


@dataclass(frozen=True)
class Run:
    """What to train, and how it is carried out.

    Attributes:
        balancer, objectives, backbone, data: names in the tables of this file; the balancer Equal has weights of 1.
        precision: as Lightning names it; `16-mixed` has a gradient scaler that starts at `scale`.
        accumulate: micro-batches of an optimizer step.
        workers: processes that make rows.
        steps: optimizer steps.
        local_means: the usual bug, each micro-batch divided by its own counts.
        optimizer: a name in the table, clipped and scheduled; `plain` moves by the gradient itself.
        on_nonfinite: as `Pretraining` takes it.
    """

    balancer: str = "Fixed"
    objectives: str = "four"
    backbone: str = "gpt_neox"
    precision: str = "64-true"
    accumulate: int = 1
    workers: int = 0
    steps: int = STEPS
    scale: float = 2.0**7
    local_means: bool = False
    optimizer: str = "adamw"
    on_nonfinite: str = "skip"
    data: str = "packed"


class State(NamedTuple):
    """What a training leaves behind.

    Attributes:
        start, model: parameters and buffers of backbone and heads, before and after.
        balancer: the balancer's buffers, those it does not save included, and what its weightings remember.
        activity: the log of who reads rows.
        weights: of each step, as the total was taken with them, `(steps, objectives)`.
        losses: of each step, `(steps, objectives)`.
        tokens: tokens read.
        optimizer: the optimizer's state.
        skipped: steps that were dropped.
        rows: of each step, digests of what this rank has read, in no order.
    """

    start: dict[str, Tensor]
    model: dict[str, Tensor]
    balancer: dict[str, Tensor]
    activity: list[tuple[int, tuple[str, ...]]]
    weights: Tensor
    losses: Tensor
    tokens: int
    optimizer: dict[str, Tensor]
    skipped: list[int]
    rows: dict[int, list[bytes]]


class LocalMeans(Pretraining):
    """The usual bug: means over what a micro-batch happens to hold, averaged over micro-batches and ranks."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size
        own = {name: {part: n * share for part, n in view.counts.items()} for name, view in batch.views.items()}
        return super().training_step(Batch(batch.views, batch.tokens, own), batch_idx)


class Recorder(Callback):
    """Keeps the model of the start, and what each optimizer step read and measured."""

    def __init__(self) -> None:
        self.rows: dict[int, list[bytes]] = {}
        self.steps: list[StepMetrics] = []
        self.start: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del trainer
        self.start = model_state(pl_module)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, *_: Any) -> None:
        del pl_module
        self.rows.setdefault(trainer.global_step, []).extend(row_digests(batch))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        del trainer, args
        assert isinstance(pl_module, Pretraining)
        last = pl_module.last_step
        if last is not None and (not self.steps or self.steps[-1] is not last):
            self.steps.append(last)


def write_corpus(folder: Path) -> Path:
    """Documents of invented words, sentences of 2 to 12 of them: rows of very unequal length and count.

    Two files of them, `corpus.txt` and `other.txt`, the second shorter; returns the first.
    """
    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghij") for _ in range(draw.randint(1, 6))) for _ in range(60)]
    for name, count in (("corpus.txt", 30), ("other.txt", 12)):
        documents = []
        for _ in range(count):
            sentences = [
                " ".join(draw.choice(words) for _ in range(draw.choice([2, 2, 3, 12]))).capitalize() + "."
                for _ in range(draw.randint(4, 24))
            ]
            paragraphs = [" ".join(sentences[at : at + 4]) for at in range(0, len(sentences), 4)]
            documents.append("\n".join(paragraphs))
        (folder / name).write_text("\n\n".join(documents), encoding="utf-8")
    return folder / "corpus.txt"


def make_module(run: Run) -> Pretraining:
    """The module of a run, not built yet."""
    kind = LocalMeans if run.local_means else Pretraining
    family, arguments = BACKBONES[run.backbone]
    return kind(
        Backbone(family, arguments),
        OBJECTIVES[run.objectives](),
        Fixed() if run.balancer == "Equal" else BALANCERS[run.balancer](),
        optimizer=OPTIMIZERS[run.optimizer],
        lr_schedule=LRSchedule("constant", 0)
        if run.optimizer == "plain"
        else LRSchedule("cosine", warmup=4, min_lr_ratio=0.1),
        on_nonfinite=run.on_nonfinite,  # type: ignore[arg-type]
    )


def make_data(run: Run, folder: Path) -> TextDataModule:
    """The data of a run, from the corpus and the token cache in `folder`."""
    settings: dict[str, Any] = {"corpus": ["corpus.txt"], "seq_len": WINDOW} | DATA[run.data]
    corpus = [str(folder / name) for name in settings.pop("corpus")]
    return TextDataModule(
        corpus,
        documents="blank-line",
        tokenizer=300,
        global_batch_size=ROWS,
        batch_multiple=UNIT,
        num_workers=run.workers,
        cache=str(folder),
        **settings,
    )


def make_trainer(run: Run, world: int, callbacks: Sequence[Callback] = ()) -> L.Trainer:
    """A trainer that prints and saves nothing; with `world` 2 this process is one of two that already met."""
    plugins: list[Any] = [TorchElasticEnvironment() if world > 1 else LightningEnvironment()]
    precision: dict[str, Any] = {"precision": run.precision}
    if run.precision == "16-mixed":  # by its name alone a CPU would get bf16
        scaler = torch.amp.GradScaler("cpu", init_scale=run.scale, growth_interval=10**6)
        plugins.append(MixedPrecision("16-mixed", "cpu", scaler=scaler))
        precision = {}
    return L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=DDPStrategy(process_group_backend="gloo", broadcast_buffers=False) if world > 1 else "auto",
        plugins=plugins,
        max_steps=run.steps,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=None if run.optimizer == "plain" else 0.5,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **precision,
    )


def train(
    run: Run,
    folder: Path,
    world: int = 1,
    callbacks: Sequence[Callback] = (),
    resume: Path | None = None,
) -> State:
    """Carry a run out in this process and hand back its end state."""
    recorder = Recorder()
    with quiet():
        torch.manual_seed(0)
        module = make_module(run)
        trainer = make_trainer(run, world, [recorder, *callbacks])
        trainer.fit(module, make_data(run, folder), ckpt_path=None if resume is None else str(resume))
    return State(
        start=recorder.start,
        model=model_state(module),
        balancer=balancer_state(module.balancer),
        activity=list(module.activity.entries),
        weights=torch.stack([step.weights for step in recorder.steps]),
        losses=torch.stack([step.losses for step in recorder.steps]),
        tokens=module.tokens_read,
        optimizer=tensors_in(trainer.optimizers[0].state_dict()),
        skipped=[step.step for step in recorder.steps if not step.finite],
        rows=recorder.rows,
    )


def model_state(module: L.LightningModule) -> dict[str, Tensor]:
    """Parameters and buffers of backbone and heads."""
    return {name: t.clone() for name, t in module.state_dict().items() if not name.startswith("balancer.")}


def balancer_state(balancer: Balancer) -> dict[str, Tensor]:
    """Everything that a balancer remembers, saved or not."""
    remembered = tensors_in({name: value for name, value in balancer.state_dict().items() if "extra_state" in name})
    return {name: buffer.clone() for name, buffer in balancer.named_buffers()} | remembered


def tensors_in(value: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors and numbers in nested plain data, by their path."""
    if isinstance(value, Tensor):
        return {path: value.detach().clone()}
    if isinstance(value, bool | int | float):
        return {path: torch.tensor(value, dtype=torch.double)}
    if isinstance(value, Mapping):
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        return {}
    return {at: tensor for key, item in value for at, tensor in tensors_in(item, f"{path}/{key}").items()}


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """All of them as one vector in double precision."""
    return torch.cat([torch.zeros(0, dtype=torch.double), *(tensor.double().flatten() for tensor in tensors.values())])


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Norm of the difference over the norm, of everything as one vector."""
    assert one.keys() == other.keys()
    a, b = flat(one), flat(other)
    differ = a != b  # the infinite, where they agree, have no difference
    return float((a - b)[differ].norm() / b[b.isfinite()].norm()) if bool(differ.any()) else 0.0


def same_bits(one: State, other: State) -> list[str]:
    """Names of everything in which two end states are not equal to the last bit."""
    different = []
    for part in ("model", "balancer", "optimizer"):
        a, b = getattr(one, part), getattr(other, part)
        different += [f"{part} {name}" for name in a.keys() | b.keys() if not _equal(a.get(name), b.get(name))]
    return different + [part for part in ("activity", "tokens") if getattr(one, part) != getattr(other, part)]


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's hints are about speed and habits, not about results."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)


def meet(rank: int, port: int) -> None:
    """Make this process one of a pair."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
    }
