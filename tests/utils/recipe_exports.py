"""Exported folders of recipes beside the runs that they came from."""

import json
import random
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from lm_objectives.data.cache import open_cache
from lm_objectives.data.dataset import RowDataset, RowKey, RowSettings
from lm_objectives.data.plan import ObjectiveRows, row_owner
from lm_objectives.training.run import LoadedRun
from lm_objectives.views import View
from utils.small_corpus import WORDS, write_corpus

Ids = list[int]
READS: dict[str, Callable[[Ids, Ids], Ids]] = {
    # of a document and the mode's token, as the papers and the objectives' pages have it
    "causal": lambda ids, mode: ids[:-1],
    "spans": lambda ids, mode: ids[1:],
    "s": lambda ids, mode: mode + ids[:-1],
    **{name: lambda ids, mode: mode + ids[1:] for name in ("r3", "r8", "x3", "x8", "x64", "x64_rare")},
    **{name: lambda ids, mode: ids for name in ("masked", "next_sentence", "order", "replaced", "text")},
}
_SHORT: dict[str, tuple[tuple[str, ...], str]] = {  # words, and what stands between two of them
    "{}.": (WORDS, " "),
    " {}.\r\nAnd {}.\r\n\r\n": (WORDS, " "),
    "{}。{}！": (("他来了", "我们", "去了北京", "天气", "很好", "二〇〇一年"), ""),
    "    if {}:\n\t\treturn {}  # end\n": (WORDS, "_"),
}


def write_documents(path: Path) -> None:
    """The small corpus, and 720 short documents: English, indented lines with CRLF, Chinese and source code."""
    draw, short = random.Random(1), dict[str, None]()
    while len(short) < 720:
        frame, (words, between) = draw.choice(list(_SHORT.items()))
        short[frame.format(*(between.join(draw.choices(words, k=draw.randint(3, 6))) for _ in range(2)))] = None
    lines = write_corpus(path).read_text(encoding="utf-8")
    path.write_text(lines + "".join(f"{json.dumps({'text': text})}\n" for text in short), encoding="utf-8")


def documents(run: LoadedRun) -> tuple[list[Ids], list[Ids]]:
    """Tokens of the documents that the run trained on, and of those that it held out."""
    assert run.cache is not None
    cache = open_cache(run.cache)
    training, held_out = (
        [text.tokens[start:stop].tolist() for start, stop in pairwise(text.documents)]
        for text in (cache.training, cache.validation)
    )
    return training, held_out


def views_of(run: LoadedRun, name: str) -> dict[str, View]:
    """Held-out rows of an objective, one document in each, as all who share them read them."""
    return _rows(run, row_owner(name, run.module.sources), run.module.sources)


def clean_pairs(run: LoadedRun, name: str) -> View:
    """Held-out rows of an objective that cuts pairs, before anything in them is masked."""
    return _rows(run, name, {name: run.module.sources[name]})[name]


def _rows(run: LoadedRun, name: str, sources: Mapping[str, ObjectiveRows]) -> dict[str, View]:
    assert run.cache is not None
    cache, settings = open_cache(run.cache), RowSettings(run.module.seq_len, packing=False)
    dataset = RowDataset(cache.validation, sources, cache.vocabulary, settings, "validation")
    return dataset.__getitems__([RowKey(name, k) for k in range(8)]).views


@torch.no_grad()
def our_losses(run: LoadedRun, name: str, view: View) -> dict[str, Tensor]:
    """Nats per scored position of each part of an objective's loss."""
    objective: Any = run.module.objectives[name]
    view = objective.fill_in(view, run.module.backbone.embedding_parameters())
    [hidden] = run.module.backbone.encode([view])
    sums = objective.compute_loss(hidden, view, run.module.backbone.embedding).loss_sums
    return {part: value / view.counts[part] for part, value in sums.items()}


def labels_of(view: View, like: Tensor) -> Tensor:
    """What is scored of a view, -100 elsewhere, as transformers' classes take it."""
    labels = torch.full_like(like, -100)
    labels.view(-1)[view.label_positions] = view.targets
    return labels


def both_losses(run: LoadedRun, name: str, folder: Path) -> tuple[Tensor, Tensor]:
    """An objective's loss on held-out rows, and what a folder's class says of the same rows from `labels`.

    Classes with two heads add both losses; a folder called generator has ELECTRA's.
    """
    views, objective = views_of(run, name), run.module.objectives[name]
    view, ours = views[name], our_losses(run, name, views[name])
    loss, ids, more = ours.get("loss"), view.input_ids, {}
    kind = getattr(transformers, json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    if kind.__name__ == "ElectraForPreTraining":
        full: Any = objective.fill_in(view, run.module.backbone.embedding_parameters())  # type: ignore[operator]
        loss, ids, labels = ours["discriminator"], full.input_ids, full.extra["labels"]
    elif view.decoder_labels is not None:
        labels = labels_of(view, view.decoder_labels)
    elif name == "causal":
        labels = ids.masked_fill(torch.arange(ids.shape[1]) >= view.lengths[:, None], -100)  # shifted in the class
    elif kind.__name__.endswith("ForPreTraining"):
        masked = next(other for other in views if other != name)
        loss = ours["loss"] + our_losses(run, masked, views[masked])["loss"]
        labels = labels_of(views[masked], ids)
        label = {"next_sentence": "next_sentence_label", "order": "sentence_order_label"}[name]
        more = {label: view.targets}
    else:
        loss, labels = ours.get("generator", loss), labels_of(view, ids)
    if view.token_type_ids is not None:
        more["token_type_ids"] = view.token_type_ids
    real = (torch.arange(ids.shape[1]) < view.lengths[:, None]).long()
    with torch.no_grad():
        theirs = kind.from_pretrained(folder).eval()(input_ids=ids, attention_mask=real, labels=labels, **more)
    assert loss is not None
    return loss, theirs.loss
