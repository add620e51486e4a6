"""Read the texts of Hugging Face data sets, on disk or from the hub."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lm_objectives.data.preparation.arrow_columns import ROWS, column_texts, text_column
from lm_objectives.data.preparation.corpus import Source, hub_name
from lm_objectives.errors import InputError, one_line

if TYPE_CHECKING:
    from datasets import Dataset


def dataset_texts(source: Source, field: str, others: set[str], splits: set[str]) -> Iterator[str]:
    """The text of each row of the split that is read.

    Args:
        source: a data set on disk or on the hub; where it has several splits and names none, `train` is read.
        field: the text's column.
        others: gets the names of other columns.
        splits: gets the names of other splits.
    """
    import pyarrow as pa

    with _quiet():
        data = _load(source, splits)
    path = text_column(data.features.arrow_schema, field, source.name, others)
    try:
        tables = data.select_columns(path[:1]).with_format("arrow").iter(ROWS)
        for texts in map(lambda table: column_texts(table, path, source.name), tables):
            yield from texts
    except (pa.ArrowException, OSError) as error:
        mend = "write it anew" if source.kind != "hub" else "remove it from the cache of the hub, to load it anew"
        expected = f"expected a data set that can be read to its end, found {source.name}"
        raise InputError(f"{expected} ({one_line(error)}): {mend}") from error


def _load(source: Source, splits: set[str]) -> "Dataset":
    from datasets import Dataset, load_dataset, load_from_disk

    name, config, split = (hub_name(source.name) if source.kind == "hub" else None) or (source.name, None, None)
    try:
        data = load_dataset(name, config, split=split) if source.kind == "hub" else load_from_disk(name)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        if source.kind == "hub":
            expected = f"expected a path or a data set on the hub, found neither under {source.name}"
            mend = "check the spelling, the configuration and split (owner/name:config:split) and the network"
            raise InputError(f"{expected}: {mend} ({reason})") from error
        raise InputError(
            f"expected a data set written by save_to_disk, found none at {source.name} ({reason}): write it anew"
        ) from error
    if isinstance(data, Dataset):
        return data
    if "train" not in data and len(data) != 1:
        mend = "name one, as in owner/name:config:split" if source.kind == "hub" else "name the folder of one"
        raise InputError(f"expected a data set with a train split, found {', '.join(data)} in {source.name}: {mend}")
    chosen = "train" if "train" in data else next(iter(data))
    splits |= data.keys() - {chosen}
    return data[chosen]


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines while a library reads; all settings are as before afterwards."""
    import datasets

    level, bars = logging.root.manager.disable, datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    logging.disable()
    try:
        yield
    finally:
        logging.disable(level)
        if not bars:
            datasets.enable_progress_bars()
