"""Summary of a token cache as text."""

import numpy as np

from lm_objectives.data.cache import CorpusStatistics, TokenCache
from lm_objectives.data.dataset import RowDataset, RowKey
from lm_objectives.data.plan import row_owner
from lm_objectives.tables import format_table
from lm_objectives.views import View

_TRIED = 256  # rows of each objective that are made to see how much of them is scored

_UNSPACED = 0.05  # share of letters from which on spaces say nothing about words


def summary(cache: TokenCache, rows: RowDataset) -> str:
    """Lines about the text, and a table of what each objective reads of it.

    Args:
        cache: the prepared text.
        rows: its training rows.
    """
    statistics, training, validation = cache.statistics, cache.training, cache.validation
    tokens, held_out = len(training.tokens), len(validation.tokens)
    documents = [len(split.documents) - 1 for split in (training, validation)]
    left_out = _list({"without text": statistics.empty, "without a token": statistics.without_tokens})
    but = f"; left out {left_out}" if left_out else ""
    facts = {
        "documents": f"{sum(documents):,}: {documents[0]:,} for training, {documents[1]:,} held out{but}",
        "sentences": f"{len(training.sentences) + len(validation.sentences):,}",
        "tokens": f"{tokens + held_out:,}: {tokens:,} for training, {held_out:,} held out",
        "corpora": _corpora(np.diff(training.corpora)),
        "words": _words(statistics, tokens + held_out),
        "characters": f"{statistics.characters:,}, {statistics.characters / (tokens + held_out):.2f} a token",
        "unknown": f"{statistics.unknown:,} tokens, {100 * statistics.unknown / (tokens + held_out):.2f} %",
        "vocabulary": f"{cache.vocabulary.size:,} tokens{_trained(statistics.trained_on)}",
        "cache": str(cache.folder),
        "took": f"{statistics.seconds:,.1f} s",
    }
    lines = [f"{name:<12}{fact}" for name, fact in facts.items() if fact]
    table = format_table(_HEADINGS, [_objective(rows, name) for name in rows.sources])
    return "\n".join([*lines, "", table])


_HEADINGS = ("objective", "rows an epoch", "scored", "padding", "left out")


def _objective(rows: RowDataset, name: str) -> tuple[str, ...]:
    settings, owner = rows.settings, row_owner(name, rows.sources)
    windows = len(rows.windows[owner])
    view = rows.__getitems__([RowKey(owner, k) for k in range(min(windows, _TRIED))]).views[name]
    dropped = rows.sources[owner].corruption.dropped_counts(
        rows.texts[owner], settings.max_seq_len, settings.packing, rows.vocabulary
    )
    count = f"{windows:,}" if owner == name else f"those of {owner}"
    return name, count, *_shares(view), _list(dropped) or "nothing"


def _shares(view: View) -> tuple[str, str]:
    """How much of what the loss could be over it is over, and how much of the input is padding."""
    positions = view.input_ids.numel() if view.decoder_labels is None else view.decoder_labels.numel()
    padding = 1 - int(view.lengths.sum()) / view.input_ids.numel()
    return f"{100 * len(view.label_positions) / positions:.1f} %", f"{100 * padding:.1f} %"


def _list(left_out: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in left_out.items() if number)


def _words(statistics: CorpusStatistics, tokens: int) -> str:
    unspaced = statistics.unspaced / statistics.characters
    if unspaced > _UNSPACED:
        return f"not counted: {100 * unspaced:.0f} % of the characters are of scripts without spaces between words"
    return f"{statistics.words:,}, of {tokens / max(statistics.words, 1):.2f} tokens"


def _corpora(tokens: np.ndarray) -> str:
    return f"{len(tokens)}, with {', '.join(f'{number:,}' for number in tokens)} training tokens" * (len(tokens) > 1)


def _trained(share: float) -> str:
    if not share:
        return ", loaded"
    return f", trained on {'all' if share == 1 else f'{100 * share:.1f} %'} of the training text"
