"""The rows of a micro-batch as digests, by which rows that came in another order or company are compared."""

from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from lm_objectives.data.dataset import Batch
from lm_objectives.views import View


def row_digests(batch: Batch) -> list[bytes]:
    """A digest of each row of each view: of all that is read of it, and of the counts that its loss is divided by."""
    rows = [
        (name, sorted((part, int(count)) for part, count in batch.totals[name].items()), *row)
        for name, view in batch.views.items()
        for row in _rows(view)
    ]
    return [blake2b(repr(row).encode(), digest_size=16).digest() for row in rows]


def _rows(view: View) -> list[tuple[Any, ...]]:
    """What the view has of each row, as plain data."""
    assert not view.extra
    count, time = view.input_ids.shape
    assert view.padded == bool((view.lengths < time).any())
    positions = torch.arange(time).expand(count, time) if view.position_ids is None else view.position_ids
    written = time if view.decoder_labels is None else view.decoder_labels.shape[1]
    owners = view.label_positions // written
    rows = []
    for row in range(count):
        own = owners == row
        parts = (view.input_ids, view.lengths, positions, view.prefix_lengths, view.decoder_labels, view.token_type_ids)
        scored = (view.label_positions % written, view.targets, view.sampling_noise)
        rows.append((view.attention, *(_plain(part, row) for part in parts), *(_plain(part, own) for part in scored)))
    return rows


def _plain(values: Tensor | None, index: int | Tensor) -> Any:
    return None if values is None else values[index].tolist()
