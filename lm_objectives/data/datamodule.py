"""The LightningDataModule: one corpus, batches with the share of each objective."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer.call import _call_configure_model
from torch import Tensor
from torch.utils.data import DataLoader

from lm_objectives.data.cache import open_cache
from lm_objectives.data.dataset import Batch, RowDataset, RowKey, RowSettings, check_seq_len
from lm_objectives.data.limits import check_counts, check_mixing
from lm_objectives.data.mixture import mixing_rates
from lm_objectives.data.plan import ActivityLog, ObjectiveRows, RowPlan
from lm_objectives.data.preparation.corpus import Format
from lm_objectives.data.preparation.prepare import prepare
from lm_objectives.data.preparation.sentences import Sentences
from lm_objectives.data.sampler import (
    MicroBatches,
    StepLoader,
    end_workers,
    make_loader,
    prefetch_factor,
    validation_batches,
)
from lm_objectives.data.target_counts import check_scored, count_targets
from lm_objectives.data.trainer import (
    check_callbacks,
    check_strategy,
    check_whole_steps,
    prepare_dev_run,
    repeated_steps,
    restore_interval,
    training_steps,
    validate_at_end,
    validate_each_objective,
)
from lm_objectives.errors import InputError, expect
from lm_objectives.plugin import takes_plain
from lm_objectives.views import Vocabulary


class TextDataModule(L.LightningDataModule):
    """Batches with rows for each objective, from one corpus.

        >>> from lm_objectives import TextDataModule
        >>> data = TextDataModule("texts/*.jsonl", seq_len=[[0.0, 128], [0.5, 256]], global_batch_size=64)
        >>> f"{data.seq_len} tokens in a row, {data.global_batch_size * data.seq_len:,} in a step"
        '256 tokens in a row, 16,384 in a step'
        >>> TextDataModule(seq_len=4)
        Traceback (most recent call last):
        lm_objectives.errors.InputError: expected data.seq_len of at least 8, found 4: raise it

    Args:
        corpus: text files, JSON lines, CSV, TSV, Parquet, also compressed; folders and patterns of them; their URLs; or
            a Hugging Face dataset saved on disk or named on the hub, owner/name, owner/name:config or
            owner/name:config:split. One, or a list of several to mix. The default is the shipped one, State of the
            Union addresses.
        validation_corpus: text to hold out as a whole, named as `corpus` is; then all of `corpus` trains, and
            `validation_share` counts for nothing.
        format: how to read all files, whatever they are called. By default their suffixes say it.
        text_field: column or key that holds a document's text, meta.text where it lies in another one.
        documents: what one document of plain text is: file, blank-line (a block between blank lines), line, or the
            string that stands between documents. A record of any other format is one document.
        sentences: whether sentences are found by the language's rules, or are lines.
        language: language code that sentences are found by, such as en, de or zh.
        tokenizer: a number trains a byte-level BPE of so many tokens on the training documents; a folder or name loads
            a Hugging Face fast tokenizer.
        add_tokens: tokens of text that a loaded tokenizer gets in addition, such as words of a field. Pretrained
            embeddings get rows for them.
        corpus_weights: part of the rows that each entry of `corpus` gets, relative to the others'; by default its part
            of the text, all of which is read once before any is read again.
        corpus_temperature: instead of weights, parts in proportion to min(tokens, corpus_cap)^(1/temperature).
        corpus_cap: tokens above which a corpus counts for no more.
        seq_len: tokens in a row, or points [[when, tokens], ...] that they follow by steps: each divides the largest,
            of which it makes so many more rows, so that a step has the same tokens throughout. `when` is an optimizer
            step or, with a point, a fraction of the training. Rows that an objective builds itself keep the largest.
        packing: whether a row holds parts of several documents, none of which sees another or has positions that
            follow another's, or one document with padding. By default it does where the backbone can keep them apart.
        global_batch_size: rows in an optimizer step, over all objectives, devices and accumulated micro-batches.
        batch_multiple: each objective's rows of a step are a multiple of this, 0 included; shares are met over the
            steps. devices x accumulate_grad_batches must divide it. By default the largest power of two up to 8 that
            divides global_batch_size and gives each objective rows in every step, by its largest share.
        num_workers: processes that make rows for training, and as many for validation, from the first row that is
            wanted to the end of the fit; 0 makes rows in the training process.
        validation_share: part of the documents held out, in (0, 1), about: each by its own text alone. Of a corpus of
            fewer than 20 documents it is the end of each.
        validation_rows: held-out rows of each objective in a validation pass, at most; 0 means all.
        cache: folder for tokenized text, by default lm-objectives in the user's cache folder.
        seed: another one gives the training rows another order and other corruptions.
        split_seed: another one gives another split, so another tokenizer where one is trained, and other held-out rows;
            by default the seed. Runs of one split_seed and several seeds share all of these.
    """

    @takes_plain
    def __init__(
        self,
        corpus: str | list[str] | None = None,
        validation_corpus: str | list[str] | None = None,
        format: Format | None = None,
        text_field: str = "text",
        documents: str = "file",
        sentences: Sentences = "language",
        language: str = "en",
        tokenizer: int | str = 8192,
        add_tokens: list[str] | None = None,
        corpus_weights: list[float] | None = None,
        corpus_temperature: float | None = None,
        corpus_cap: int | None = None,
        seq_len: int | list[list[int | float]] = 128,
        packing: bool | None = None,
        global_batch_size: int = 32,
        batch_multiple: int | None = None,
        num_workers: int = 0,
        validation_share: float = 0.1,
        validation_rows: int = 512,
        cache: str | None = None,
        seed: int = 0,
        split_seed: int | None = None,
    ) -> None:
        super().__init__()
        check_counts(global_batch_size=global_batch_size, batch_multiple=batch_multiple, num_workers=num_workers)
        check_counts(validation_rows=validation_rows, corpus_cap=corpus_cap)
        check_mixing(corpus_weights, corpus_temperature, validation_share)
        self.corpus, self.validation_corpus = corpus, validation_corpus
        self.format, self.text_field, self.documents, self.sentences = format, text_field, documents, sentences
        self.language, self.tokenizer_source, self.add_tokens = language, tokenizer, [*(add_tokens or [])]
        self.corpus_weights, self.corpus_temperature, self.corpus_cap = corpus_weights, corpus_temperature, corpus_cap
        self.seq_len_schedule, self.seq_len, self.packing = seq_len, check_seq_len(seq_len), packing
        self.global_batch_size, self.batch_multiple, self.num_workers = global_batch_size, batch_multiple, num_workers
        self.validation_share, self.validation_rows = validation_share, validation_rows
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.cache = cache or str(Path(home) / "lm-objectives")
        self.seed, self.split_seed = seed, seed if split_seed is None else split_seed
        self._loaders: dict[str, DataLoader[Batch]] = {}  # of the trainer's run, by split, whose workers end with it

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
            add_tokens=self.add_tokens,
            validation_share=self.validation_share,
            split_seed=self.split_seed,
            format=self.format,
            documents=self.documents,
            sentences=self.sentences,
            validation_corpus=self.validation_corpus,
            tokens=tuple(chain(*(source.corruption.special_tokens(self.seq_len) for source in sources.values()))),
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
        check_strategy(trainer)
        check_callbacks(trainer)
        self.open(module.sources, module.backbone.supports_packing, trainer)
        module.meet_data(self)
        _call_configure_model(trainer)  # before callbacks get this hook, which may copy what the module holds

    def open(self, sources: Mapping[str, ObjectiveRows], packs: bool = True, trainer: L.Trainer | None = None) -> None:
        """Prepare the corpus where it is not, and open its token cache.

        Args:
            sources: corruptions and shares, by objective.
            packs: whether the backbone keeps the documents of a row apart.
            trainer: from which the length of the training is taken, where settings move over it.

        Raises:
            InputError: where the corpus cannot be used, or `global_batch_size` cannot be shared out.
        """
        expected = "a backbone that keeps the documents of a row apart for data.packing"
        mend = "set data.packing to false for one document a row"
        expect(not self.packing or packs, expected, "one that cannot", mend)
        self.text = open_cache(self._prepare(sources))
        found, wanted = len(self.text.training.tokens), self.global_batch_size * self.seq_len
        expected = f"a training text of at least one step, {wanted:,} tokens (data.global_batch_size x data.seq_len)"
        mend = "give a larger corpus, or lower data.global_batch_size"
        expect(found >= wanted, expected, f"{found:,}", mend)  # a step would read the corpus more than once
        steps = -1
        if trainer is not None:
            prepare_dev_run(trainer)
            steps = training_steps(trainer, self.steps_per_epoch)
            validate_at_end(trainer, steps, self.steps_per_epoch)
        tokens = np.diff(self.text.training.corpora).tolist()
        rates = mixing_rates(tokens, self.corpus_weights, self.corpus_temperature, self.corpus_cap)
        packing = packs if self.packing is None else self.packing
        self.settings = RowSettings(self.seq_len_schedule, self.seed, packing, rates, steps)
        self.settings.splits_at(0)
        self._sources = sources
        self._rows: RowDataset | None = None
        self._checked: RowDataset | None = None  # in which each objective was found to score something
        self.plan = self._plan()

    def _plan(self, activity: ActivityLog | None = None, repeat: int | None = None) -> RowPlan:
        rows, multiple = self.global_batch_size, self.batch_multiple
        return RowPlan(self._sources, rows, multiple, activity, self.settings.steps, repeat)

    def check(self, trainer: L.Trainer) -> None:
        """Raise where rows cannot be made in the way that a trainer's settings ask for."""
        check_strategy(trainer)
        check_callbacks(trainer)
        MicroBatches(self.plan, lambda: 0, trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches)
        check_whole_steps(trainer, self.steps_per_epoch)
        prefetch_factor(self.num_workers, trainer.accumulate_grad_batches)

    def train_dataloader(self) -> StepLoader:
        """Micro-batches of this rank from the trainer's step on."""
        trainer = self.trainer
        accumulate, world, rank, activity, repeat = 1, 1, 0, None, None
        if trainer is not None:
            accumulate, world, rank = trainer.accumulate_grad_batches, trainer.world_size, trainer.global_rank
            module: Any = trainer.lightning_module
            activity = module.activity
            self.check(trainer)
            repeat = repeated_steps(trainer, self.steps_per_epoch)
        self.plan = plan = self._plan(activity, repeat)
        self.check_scored()

        def start() -> int:
            return trainer.global_step if trainer is not None else 0

        keys = MicroBatches(plan, start, rank, world, accumulate)
        loader = self._loader("training", self.training_rows(), keys, accumulate)
        reduce = partial(_sum_over_ranks, trainer.strategy) if trainer is not None and world > 1 else None
        return StepLoader(loader.__iter__, self.steps_per_epoch * accumulate, accumulate, reduce)

    def training_rows(self) -> RowDataset:
        """The training text's rows by their keys."""
        if self._rows is None:
            self._rows = RowDataset(self.text.training, self._sources, self.vocabulary, self.settings, "training")
        return self._rows

    def check_scored(self) -> None:
        """Raise where an objective could score nothing in the training text; looks once."""
        rows = self.training_rows()
        if self._checked is not rows:
            check_scored(rows)
            self._checked = rows

    def _validation_sources(self) -> dict[str, ObjectiveRows]:
        """Sources with the corruptions that held-out rows are made with."""
        sources = self._sources.items()
        return {name: replace(source, corruption=source.corruption.for_validation()) for name, source in sources}

    def target_counts(self) -> dict[str, Tensor]:
        """How often each target is right in training rows that are made as held-out ones are; see `count_targets`."""
        settings = replace(self.settings, seq_len=self.seq_len, seed=self.split_seed, steps=-1)
        folder = self.text.folder / "target_counts"
        return count_targets(self.text.training, self._validation_sources(), self.vocabulary, settings, folder)

    def val_dataloader(self) -> StepLoader:
        """Held-out rows in a fixed order, one objective a batch, every rank its own."""
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)
        settings = RowSettings(self.seq_len, self.split_seed, self.settings.packing)
        dataset = RowDataset(self.text.validation, self._validation_sources(), self.vocabulary, settings, "validation")
        batches = validation_batches(dataset, self.validation_rows, min(self.global_batch_size, 64), rank, world)
        if self.trainer is not None:
            validate_each_objective(self.trainer, len(batches), len(dataset.windows))
        return StepLoader(self._loader("validation", dataset, batches, 1).__iter__, len(batches), 1, None)

    def _loader(
        self, split: str, dataset: RowDataset, keys: Iterable[list[RowKey]], accumulate: int
    ) -> DataLoader[Batch]:
        trainer = self.trainer
        pin_memory = trainer is not None and trainer.strategy.root_device.type == "cuda"
        loader = make_loader(dataset, keys, self.num_workers, accumulate, pin_memory)
        if trainer is not None:
            if split in self._loaders:
                end_workers(self._loaders[split])
            self._loaders[split] = loader
        return loader

    def teardown(self, stage: str | None = None) -> None:
        """End the workers, and give the Trainer its interval back; text, vocabulary and rows stay."""
        del stage
        while self._loaders:
            end_workers(self._loaders.popitem()[1])
        if self.trainer is not None:
            restore_interval(self.trainer)

    def on_exception(self, exception: BaseException) -> None:
        del exception
        self.teardown()


def _sum_over_ranks(strategy: Strategy, tensor: Tensor) -> Tensor:
    return strategy.reduce(tensor.to(strategy.root_device), reduce_op="sum")
