"""Objectives that could learn nothing from a text, found before a training."""

from lm_objectives.data.rows import RowDataset, RowKey

_ROWS, _TRIES = 64, 16  # rows of a try, and tries; most objectives score something in the first


def check_scored(rows: RowDataset) -> None:
    """Raise where an objective scores no position in any of many rows, tried over the whole training.

    Args:
        rows: the training text's rows.

    Raises:
        ValueError: for a text that is all unknown or special tokens to an objective.
    """
    unscored = set(rows.sources)
    for number in range(_TRIES):
        step = max(rows.settings.steps, 0) * number // _TRIES  # settings may move
        for host, spans in rows.windows.items():
            if unscored & {name for name, source in rows.sources.items() if host in (name, source.shares_rows_with)}:
                first = len(spans) * number // _TRIES
                keys = [RowKey(host, k, step) for k in range(first, min(first + _ROWS, len(spans)))]
                views = rows.__getitems__(keys).views
                unscored -= {name for name, view in views.items() if any(view.counts.values())}
        if not unscored:
            return
    raise ValueError(
        f"expected text that objective {min(unscored)} can score, found no position to score in any row tried: it may "
        "be all unknown tokens, so give another data.tokenizer or corpus"
    )
