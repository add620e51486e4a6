"""The LightningDataModule: one corpus, rows for every objective, by share."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.utils.data import DataLoader

from lm_objectives.data.cache import open_cache
from lm_objectives.data.dataset import Batch, RowDataset, RowKey, RowSettings, check_scored
from lm_objectives.data.mixture import mixing_rates
from lm_objectives.data.plan import ACTIVITY_DELAY, ActivityLog, ObjectiveRows, RowPlan
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.preparation.text_files import TxtDocuments
from lm_objectives.data.sampler import MicroBatches, StepLoader, keep_freed_memory
from lm_objectives.data.target_counts import count_targets
from lm_objectives.errors import InputError
from lm_objectives.schedules import Points, check_points, depends_on_length
from lm_objectives.views import Vocabulary


def default_cache() -> str:
    """Where tokens are kept between runs when no folder is named."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(home) / "lm-objectives")


class TextDataModule(L.LightningDataModule):
    """Rows for each objective of the model from one corpus.

    Args:
        corpus: text files, folders, patterns, JSON lines, Parquet, or a Hugging Face dataset saved on disk or named on
            the hub; one, or a list of several to mix. The default is the shipped one, State of the Union addresses.
        text_field: column or key that holds a document's text.
        txt_documents: whether a .txt file is one document, or each of its blocks between blank lines is one.
        language: language code that sentences are found by, such as en, de or zh.
        tokenizer: a number trains a byte-level BPE of so many tokens on the training documents; a folder or name loads
            a Hugging Face fast tokenizer.
        corpus_weights: part of the rows that each entry of `corpus` gets, relative to the others'; by default what it
            has of the text, all of it read once before any is read again.
        corpus_temperature: instead of weights, parts in proportion to min(tokens, corpus_cap)^(1/temperature).
        corpus_cap: tokens above which a corpus counts for no more.
        window: tokens in a row, or points [[when, tokens], ...] that they follow by steps: what divides the largest
            window is read as so many more rows of it, and a step has the same tokens throughout. `when` is an optimizer
            step or, with a point, a fraction of the training. Rows that an objective arranges itself keep the largest.
        packing: whether a row holds parts of several documents, none of which sees another or has positions that
            follow another's, or one document with padding. By default it does where the backbone can keep them apart.
        global_batch_size: rows in an optimizer step, over all objectives, devices and accumulated micro-batches.
        unit: each objective's rows of a step are a multiple of this, none among them; shares are met over the steps.
            devices x accumulate_grad_batches must divide it.
        num_workers: processes that make rows; 0 makes them in the training process.
        validation_share: part of the documents held out, in (0, 1), about: each by its own text alone.
        validation_rows: held-out rows of each objective in a validation pass, at most; 0 means all.
        cache: folder for tokenized text, by default lm-objectives in the user's cache folder.
        seed: another one gives the training rows another order and other corruptions.
        split_seed: another one gives another split, so another tokenizer where one is trained, and other held-out rows;
            by default the seed. Runs of one split_seed and several seeds share all of these.
    """

    def __init__(
        self,
        corpus: str | list[str] | None = None,
        text_field: str = "text",
        txt_documents: TxtDocuments = "file",
        language: str = "en",
        tokenizer: int | str = 8192,
        corpus_weights: list[float] | None = None,
        corpus_temperature: float | None = None,
        corpus_cap: int | None = None,
        seq_len: int | list[list[int | float]] = 128,
        packing: bool | None = None,
        global_batch_size: int = 32,
        batch_multiple: int = 8,
        num_workers: int = 0,
        validation_share: float = 0.1,
        validation_rows: int = 512,
        cache: str | None = None,
        seed: int = 0,
        split_seed: int | None = None,
    ) -> None:
        super().__init__()
        _at_least("data.global_batch_size", global_batch_size, 1)
        _at_least("data.batch_multiple", batch_multiple, 1)
        _at_least("data.num_workers", num_workers, 0)
        _at_least("data.validation_rows", validation_rows, 0)
        self.corpus, self.text_field, self.txt_documents = corpus, text_field, txt_documents
        self.language, self.tokenizer_source = language, tokenizer
        self.corpus_weights, self.corpus_temperature, self.corpus_cap = corpus_weights, corpus_temperature, corpus_cap
        self.seq_len_schedule, self.seq_len, self.packing = seq_len, max_seq_len(seq_len), packing
        self.global_batch_size, self.batch_multiple, self.num_workers = global_batch_size, batch_multiple, num_workers
        self.validation_share, self.validation_rows = validation_share, validation_rows
        self.cache = cache or default_cache()
        self.seed, self.split_seed = seed, seed if split_seed is None else split_seed

    @property
    def vocabulary(self) -> Vocabulary:
        """Sizes and special tokens, known after `setup`."""
        return self.text.vocabulary

    @property
    def steps_per_epoch(self) -> int:
        """Whole optimizer steps that read as many tokens as the training text has: Lightning's bookkeeping epoch."""
        return max(len(self.text.training.tokens) // (self.global_batch_size * self.seq_len), 1)

    def prepare_data(self) -> None:
        sources = {} if self.trainer is None else getattr(self.trainer.lightning_module, "sources", {})
        self._prepare(sources)

    def _prepare(self, sources: Mapping[str, ObjectiveRows]) -> Path:
        return prepare(
            folder=self.cache,
            corpus=self.corpus,
            text_field=self.text_field,
            language=self.language,
            tokenizer=self.tokenizer_source,
            validation_share=self.validation_share,
            split_seed=self.split_seed,
            txt_documents=self.txt_documents,
            tokens=tuple(
                token for source in sources.values() for token in source.corruption.special_tokens(self.seq_len)
            ),
            pairs=any(
                source.corruption.reads_sentence_pairs and source.shares_rows_with is None
                for source in sources.values()
            ),
        )

    def setup(self, stage: str | None = None) -> None:
        del stage
        trainer = self.trainer
        if trainer is None or not hasattr(trainer.lightning_module, "sources"):
            raise InputError(
                "expected objectives to make rows for, found none: train with a Pretraining module, or call "
                "`open(sources)`"
            )
        module: Any = trainer.lightning_module
        self.open(module.sources, module.backbone.supports_packing, trainer)

    def open(self, sources: Mapping[str, ObjectiveRows], packs: bool = True, trainer: L.Trainer | None = None) -> None:
        """Make ready to read.

        Args:
            sources: of the rows, by objective.
            packs: whether the backbone keeps the documents of a row apart.
            trainer: knows how long the training is, where settings move over it.

        Raises:
            ValueError: where the corpus cannot be used, or `global_batch_size` cannot be shared out.
        """
        if self.packing and not packs:
            raise InputError(
                "expected a backbone that keeps the documents of a row apart for data.packing, found one that cannot: "
                "set data.packing to false for one document a row"
            )
        self.text = open_cache(self._prepare(sources))
        self._check_size()
        steps = -1 if trainer is None else training_steps(trainer, self.steps_per_epoch)
        tokens = np.diff(self.text.training.corpora).tolist()
        rates = mixing_rates(tokens, self.corpus_weights, self.corpus_temperature, self.corpus_cap)
        packing = packs if self.packing is None else self.packing
        self.settings = RowSettings(self.seq_len_schedule, self.seed, packing, rates, steps)
        self.settings.splits_at(0)
        self._sources = sources
        self._rows: RowDataset | None = None
        self._scored: RowDataset | None = None  # in which each objective was found to score something
        self.plan = self._plan()

    def _check_size(self) -> None:
        """Raise where one step would read the whole corpus more than once."""
        found, wanted = len(self.text.training.tokens), self.global_batch_size * self.seq_len
        if found < wanted:
            raise InputError(
                f"expected a training text of at least one step, {wanted:,} tokens (data.global_batch_size x data.seq_len), "
                f"found {found:,}: give a larger corpus, or lower data.global_batch_size"
            )

    def _plan(self, decisions: ActivityLog | None = None) -> RowPlan:
        return RowPlan(self._sources, self.global_batch_size, self.batch_multiple, decisions, self.settings.steps)

    def identity(self) -> dict[str, Any]:
        """The settings without which a run that goes on would read rows twice or never, as plain data."""
        settings, shares = self.settings, self.plan.shares
        return {
            "data.global_batch_size": self.global_batch_size,
            "data.batch_multiple": self.batch_multiple,
            "data.seed": self.seed,
            "data.split_seed": self.split_seed,
            "data.validation_share": self.validation_share,
            "data.language": self.language,
            "data.corpus": self.text.identity,
            "data.seq_len": _plain(self.seq_len_schedule),
            "data.packing": settings.packing,
            "data.corpus_weights": _plain(settings.rates),
            "shares": {name: _plain(share) for name, share in shares.items()},
            "rows of an epoch": {name: len(spans) for name, spans in self.training_rows().windows.items()},
            "trainer.max_steps": settings.steps if any(depends_on_length(share) for share in shares.values()) else None,
        }

    def check(self, trainer: L.Trainer) -> None:
        """Raise where rows cannot be made in the way that a trainer's settings ask for."""
        accumulate, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
        MicroBatches(self.plan, 0, trainer.global_rank, trainer.world_size, accumulate)
        batches = limit if isinstance(limit, int) else int(self.steps_per_epoch * accumulate * (limit or 0))
        if batches % accumulate:
            raise InputError(
                f"expected trainer.limit_train_batches in whole steps of {accumulate} micro-batches, found "
                f"{limit}: {batches - batches % accumulate + accumulate} would do"
            )
        if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise InputError(
                "expected one accumulation for the whole training, found a GradientAccumulationScheduler: "
                "change data.global_batch_size instead"
            )
        self._ahead(accumulate)

    def _ahead(self, accumulate: int) -> int | None:
        """Micro-batches that each worker may make ahead."""
        if not self.num_workers:
            return None
        most = (ACTIVITY_DELAY - 2) * accumulate
        if self.num_workers > most:
            raise InputError(
                f"expected data.num_workers of at most {most}, found {self.num_workers}: rows may be made at most "
                f"{ACTIVITY_DELAY} steps ahead, so lower it"
            )
        return min(2, most // self.num_workers)

    def train_dataloader(self) -> StepLoader:
        """Micro-batches of this rank from the trainer's step on."""
        trainer = self.trainer
        accumulate, world, rank = 1, 1, 0
        decisions = None
        if trainer is not None:
            accumulate, world, rank = trainer.accumulate_grad_batches, trainer.world_size, trainer.global_rank
            module: Any = trainer.lightning_module
            decisions = module.activity
            self.check(trainer)
        self.plan = plan = self._plan(decisions)
        self.check_scored()
        dataset = self.training_rows()

        def batches() -> DataLoader[Batch]:
            start = trainer.global_step if trainer is not None else 0
            return self._loader(dataset, MicroBatches(plan, start, rank, world, accumulate), accumulate)

        reduce = _sum_over_ranks(trainer.strategy) if trainer is not None and world > 1 else None
        return StepLoader(batches, self.steps_per_epoch * accumulate, accumulate, reduce)

    def training_rows(self) -> RowDataset:
        """The training text's rows by their keys."""
        if self._rows is None:
            self._rows = RowDataset(self.text.training, self._sources, self.vocabulary, self.settings, "training")
        return self._rows

    def check_scored(self) -> None:
        """Raise where an objective could score nothing in the training text; looks once."""
        rows = self.training_rows()
        if self._scored is not rows:
            check_scored(rows)
            self._scored = rows

    def _validating(self) -> dict[str, ObjectiveRows]:
        """Sources of rows that are made as held-out ones are."""
        return {
            name: replace(source, corruption=source.corruption.for_validation())
            for name, source in self._sources.items()
        }

    def target_counts(self) -> dict[str, Tensor]:
        """How often each target is right in training rows that are made as held-out ones are; see `count_targets`."""
        settings = RowSettings(self.seq_len, self.split_seed, self.settings.packing, self.settings.rates)
        folder = self.text.folder / "target_counts"
        return count_targets(self.text.training, self._validating(), self.vocabulary, settings, folder)

    def val_dataloader(self) -> StepLoader:
        """Held-out rows in a fixed order, one objective a batch, every rank its own."""
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)
        settings = RowSettings(self.seq_len, self.split_seed, self.settings.packing)
        dataset = RowDataset(self.text.validation, self._validating(), self.vocabulary, settings, "validation")
        size = max(min(self.global_batch_size, 64), 1)
        keys: list[list[RowKey]] = []
        for name, spans in dataset.windows.items():
            rows = min(len(spans), self.validation_rows or len(spans))
            own = range(rank, rows, world)
            keys += [[RowKey(name, k) for k in own[at : at + size]] for at in range(0, len(own), size)]
        keys.sort(key=lambda batch: batch[0].k)  # in turn, so that a pass that is cut short has seen all objectives
        return StepLoader(lambda: self._loader(dataset, keys, 1), len(keys), 1, None)

    def _loader(self, dataset: RowDataset, keys: Iterable[list[RowKey]], accumulate: int) -> DataLoader[Batch]:
        keep_freed_memory()
        return DataLoader(
            dataset,
            batch_sampler=keys,
            worker_init_fn=keep_freed_memory,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            prefetch_factor=self._ahead(accumulate),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )


def training_steps(trainer: L.Trainer, steps_per_epoch: int) -> int:
    """Optimizer steps in the whole training, -1 where nothing bounds it."""
    bounds = []
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        bounds.append(trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        accumulate, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
        if isinstance(limit, float):
            steps_per_epoch = int(steps_per_epoch * accumulate * limit) // accumulate
        elif limit is not None:
            steps_per_epoch = min(steps_per_epoch, limit // accumulate)
        bounds.append(trainer.max_epochs * steps_per_epoch)
    return min(bounds, default=-1)


def _as_it_is(batch: Any) -> Any:
    return batch


def _sum_over_ranks(strategy: Strategy) -> Callable[[Tensor], Tensor]:
    def reduce(tensor: Tensor) -> Tensor:
        return strategy.reduce(tensor.to(strategy.root_device), reduce_op="sum")

    return reduce


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"expected {name} of at least {least}, found {value}: raise it")


def _plain(value: Any) -> Any:
    """Numbers as they are, sequences as lists."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def max_seq_len(window: int | Points) -> int:
    """The largest of a window's sizes, each checked to divide it."""
    if isinstance(window, int):
        _at_least("data.seq_len", window, 8)
        return window
    check_points(window, lambda tokens: _at_least("data.seq_len", int(tokens), 8), "data.seq_len")
    largest = max(int(tokens) for _, tokens in window)
    for _, tokens in window:
        if largest % tokens:
            raise InputError(
                f"expected windows in data.seq_len that divide the largest, {largest}, found {tokens}: "
                "128, 256, 512 do, for example"
            )
    return largest
