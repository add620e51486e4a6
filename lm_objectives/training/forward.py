"""Which objectives share a pass of the backbone, and their scores."""

from collections.abc import Mapping

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.objectives.base import LossOutput, Objective
from lm_objectives.training.gradients import GradientStore
from lm_objectives.views import View


def forward_merged(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View]
) -> dict[str, LossOutput]:
    """Score views in as few passes as may be; views that share rows are read once."""
    embedding, embeddings = backbone.embedding, backbone.embedding_parameters()
    completed = {name: objectives[name].fill_in(view, embeddings) for name, view in views.items()}
    outcomes = {}
    for names in _groups(backbone, completed):
        read = {id(completed[name].input_ids): completed[name] for name in names}
        hidden = dict(zip(read, backbone.encode(list(read.values())), strict=True))
        for name in names:
            view = completed[name]
            outcomes[name] = objectives[name].compute_loss(hidden[id(view.input_ids)], view, embedding)
    return outcomes


def forward_split_layer(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View], store: GradientStore, block: int
) -> dict[str, LossOutput]:
    """Score views in as few passes, but for one block, which `store` watches and which runs once for each view."""
    embedding, rows = backbone.embedding, {name: row for row, name in enumerate(objectives)}
    embeddings = backbone.embedding_parameters()
    completed = {name: objectives[name].fill_in(view, embeddings) for name, view in views.items()}
    outcomes = {}
    for names in _groups(backbone, completed):
        aliases = [store.aliases(rows[name]) for name in names]
        read = [completed[name] for name in names]
        for name, view, hidden in zip(names, read, backbone.encode_split_layer(read, block, aliases), strict=True):
            outcomes[name] = objectives[name].compute_loss(hidden, view, embedding)
    return outcomes


def forward_separate(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View], store: GradientStore
) -> dict[str, LossOutput]:
    """Score views in one pass each, on aliases of all the parameters that `store` watches."""
    outcomes = {}
    for row, (name, objective) in enumerate(objectives.items()):
        if name in views:
            aliases = store.aliases(row)
            embeddings = backbone.embedding_parameters(aliases)
            view = objective.fill_in(views[name], embeddings)
            [hidden] = backbone.encode([view], aliases)
            outcomes[name] = objective.compute_loss(hidden, view, embeddings[backbone.embedding_name])
    return outcomes


def _groups(backbone: Backbone, views: Mapping[str, View]) -> list[list[str]]:
    """Objectives by pass: on a CPU all of one length, since a call costs more than a mask; else each pattern apart.

    A view that has a decoder write shares a pass with such as write rows of one length.
    """
    merges = backbone.embedding.device.type == "cpu"
    groups: dict[tuple[int, int, str], list[str]] = {}
    for name, view in views.items():
        written = 0 if view.decoder_labels is None else view.decoder_labels.shape[1]
        groups.setdefault((view.input_ids.shape[1], written, "" if merges else view.attention), []).append(name)
    return list(groups.values())
