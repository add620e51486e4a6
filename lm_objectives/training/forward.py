"""Run the backbone and the objectives' heads on a micro-batch, with or without per-objective gradients."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from lm_objectives.backbone.backbone import Backbone
from lm_objectives.objectives.base import LossOutput, Objective
from lm_objectives.training.gradients import GradientStore
from lm_objectives.views import View


def forward(
    backbone: Backbone,
    objectives: Mapping[str, Objective],
    views: Mapping[str, View],
    store: GradientStore | None = None,
    layer: int | None = None,
) -> dict[str, LossOutput]:
    """Compute the losses of views, in as few passes of the backbone as per-objective gradients allow.

    Without a store, views that share rows are encoded once, and all of one shape in one pass. With a store of one
    layer's gradients, that layer alone runs once for each view; with a store of all layers', the whole backbone does.

    Args:
        backbone: the shared model.
        objectives: all of them, in the order of the store's rows.
        views: those of one micro-batch, by objective.
        store: collects per-objective gradients; `None` where nothing reads them.
        layer: the one layer that the store watches, counted from the end where negative; `None` for all.
    """
    if store is not None and layer is None:
        return _forward_separate(backbone, objectives, views, store)
    rows, embeddings = {name: row for row, name in enumerate(objectives)}, backbone.embedding_parameters()
    filled = {name: objectives[name].fill_in(view, embeddings) for name, view in views.items()}
    outputs = {}
    for names in _group_by_shape(backbone, filled):
        group = [filled[name] for name in names]
        if store is None or layer is None:
            distinct = {id(view.input_ids): view for view in group}
            encoded = dict(zip(distinct, backbone.encode(list(distinct.values())), strict=True))
            states = [encoded[id(view.input_ids)] for view in group]
        else:
            states = backbone.encode_split_layer(group, layer, [store.aliases(rows[name]) for name in names])
        for name, hidden in zip(names, states, strict=True):
            outputs[name] = objectives[name].compute_loss(hidden, filled[name], backbone.embedding)
    return outputs


def zero_of_idle(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View]
) -> Tensor | Literal[0]:
    """0, which gives the parameters that no view reaches a gradient of 0: DDP expects one of every parameter."""
    idle = [p for name, objective in objectives.items() if name not in views for p in objective.parameters()]
    idle += backbone.unused_parameters(views.values())
    return sum(0 * parameter.sum() for parameter in idle)


def _forward_separate(
    backbone: Backbone, objectives: Mapping[str, Objective], views: Mapping[str, View], store: GradientStore
) -> dict[str, LossOutput]:
    """One pass for each view, on aliases of all the parameters that the store watches."""
    outputs = {}
    for row, (name, objective) in enumerate(objectives.items()):
        if name in views:
            aliases = store.aliases(row)
            embeddings = backbone.embedding_parameters(aliases)
            view = objective.fill_in(views[name], embeddings)
            [hidden] = backbone.encode([view], aliases)
            outputs[name] = objective.compute_loss(hidden, view, embeddings[backbone.embedding_name])
    return outputs


def _group_by_shape(backbone: Backbone, views: Mapping[str, View]) -> list[list[str]]:
    """Names of the views that one pass encodes: of one length of input and of decoder, and on a GPU of one attention.

    On a CPU a call costs more than a mask, so that the attention patterns are merged.
    """
    merges = backbone.embedding.device.type == "cpu"
    groups: dict[tuple[int, int, str], list[str]] = {}
    for name, view in views.items():
        decoded = 0 if view.decoder_labels is None else view.decoder_labels.shape[1]
        groups.setdefault((view.input_ids.shape[1], decoded, "" if merges else view.attention), []).append(name)
    return list(groups.values())
