"""Which objectives share a pass of the backbone, and their scores."""

from collections.abc import Mapping

from lm_objectives.backbone import Backbone
from lm_objectives.corruption.base import View
from lm_objectives.gradients import GradientStore
from lm_objectives.objectives.base import Objective, Outcome


def score_together(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View]
) -> dict[str, Outcome]:
    """Score views in as few passes as may be; views that share rows are read once."""
    embedding, embeddings = backbone.embedding, backbone.embeddings()
    completed = {name: objectives[name].complete(view, embeddings) for name, view in views.items()}
    outcomes = {}
    for names in _groups(backbone, completed):
        read = {id(completed[name].ids): completed[name] for name in names}
        hidden = dict(zip(read, backbone.encode(list(read.values())), strict=True))
        for name in names:
            view = completed[name]
            outcomes[name] = objectives[name].score(hidden[id(view.ids)], view, embedding)
    return outcomes


def score_with_block_apart(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View], store: GradientStore, block: int
) -> dict[str, Outcome]:
    """Score views in as few passes, but for one block, which `store` watches and which runs once for each view."""
    embedding, rows = backbone.embedding, {name: row for row, name in enumerate(objectives)}
    embeddings = backbone.embeddings()
    completed = {name: objectives[name].complete(view, embeddings) for name, view in views.items()}
    outcomes = {}
    for names in _groups(backbone, completed):
        aliases = [store.aliases(rows[name]) for name in names]
        read = [completed[name] for name in names]
        for name, view, hidden in zip(names, read, backbone.encode_block_apart(read, block, aliases), strict=True):
            outcomes[name] = objectives[name].score(hidden, view, embedding)
    return outcomes


def score_apart(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View], store: GradientStore
) -> dict[str, Outcome]:
    """Score views in one pass each, on aliases of all the parameters that `store` watches."""
    outcomes = {}
    for row, (name, objective) in enumerate(objectives.items()):
        if name in views:
            aliases = store.aliases(row)
            embeddings = backbone.embeddings(aliases)
            view = objective.complete(views[name], embeddings)
            [hidden] = backbone.encode([view], aliases)
            outcomes[name] = objective.score(hidden, view, embeddings[backbone.embedding_name])
    return outcomes


def _groups(backbone: Backbone, views: Mapping[str, View]) -> list[list[str]]:
    """Objectives by pass: on a CPU all of one length, since a call costs more than a mask; else each pattern apart.

    A view that has a decoder write shares a pass with such as write rows of one length.
    """
    merges = backbone.embedding.device.type == "cpu"
    groups: dict[tuple[int, int, str], list[str]] = {}
    for name, view in views.items():
        written = 0 if view.decoder is None else view.decoder.shape[1]
        groups.setdefault((view.ids.shape[1], written, "" if merges else view.attention), []).append(name)
    return list(groups.values())
