"""Attention masks and position ids for a batch of views."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_objectives.backbone.config import is_decoder, sliding_windows
from lm_objectives.views import View

_WHOLE: tuple[Mapping[str, int | None], ...] = ({"": None}, {"full_attention": None})  # of layers that see whole rows


def attention_arguments(views: Sequence[View], config: Any) -> dict[str, Any]:
    """Arguments of a model's `forward` for views in one pass: no mask where none is needed, else boolean ones.

    Args:
        views: of one sequence length.
        config: of the model.
    """
    decoder = is_decoder(config.model_type) and not config.is_encoder_decoder
    windows, patterns = sliding_windows(config), {view.attention for view in views}
    padded = any(view.padded for view in views)
    whole = all(view.position_ids is None for view in views)
    if whole and patterns == {"causal"} and decoder:
        return {}  # padding is on the right, where no scored position looks
    if whole and patterns == {"bidirectional"} and not decoder:
        return {"attention_mask": torch.cat([_real(view) for view in views]).long()} if padded else {}
    if whole and patterns == {"bidirectional"} and not padded and windows in _WHOLE:
        return {"is_causal": False}
    return {"attention_mask": attention_masks(views, windows)}


def attention_masks(
    views: Sequence[View], windows: Mapping[str, int | None]
) -> Bool[Tensor, "rows 1 time time"] | dict[str, Bool[Tensor, "rows 1 time time"]]:
    """True where a position, the second to last axis, sees another, the last: one mask, or one for each kind of layer.

    A layer with a sliding window of w keeps it whatever the view's attention: i sees j only where |i - j| < w.
    """
    seen = torch.cat([_seen(view) for view in views])[:, None]
    by_window = {window: _within(seen, window) for window in windows.values()}
    if len(by_window) == 1:
        return next(iter(by_window.values()))
    return {kind: by_window[window] for kind, window in windows.items()}


def position_ids_of(view: View) -> Int[Tensor, "rows time"]:
    """Position of each token within its document's part of the row."""
    if view.position_ids is not None:
        return view.position_ids
    return torch.arange(view.input_ids.shape[1], device=view.input_ids.device).expand_as(view.input_ids)


def _seen(view: View) -> Bool[Tensor, "rows time time"]:
    """True where a position, the second axis, sees another, the third."""
    time = view.input_ids.shape[1]
    mask = _real(view)[:, None, :].expand(-1, time, -1)
    if view.attention != "bidirectional":
        seen = torch.ones(time, time, dtype=torch.bool, device=mask.device).tril()
        if view.prefix_lengths is not None:
            seen = seen | (torch.arange(time, device=mask.device) < view.prefix_lengths[:, None])[:, None, :]
        mask = mask & seen
    if view.position_ids is not None:
        part = (view.position_ids == 0).cumsum(1)
        mask = mask & (part[:, :, None] == part[:, None, :])
    return mask


def _within(seen: Bool[Tensor, "rows 1 time time"], window: int | None) -> Bool[Tensor, "rows 1 time time"]:
    """The mask of a layer with a sliding window."""
    if window is None:
        return seen
    position = torch.arange(seen.shape[-1], device=seen.device)
    apart = (position[:, None] - position).abs()
    return seen & (apart < window) | (apart == 0)  # padding sees itself: a row that sees nothing may be NaN


def _real(view: View) -> Bool[Tensor, "rows time"]:
    """True where a row has a token and False where it is padded."""
    return torch.arange(view.input_ids.shape[1], device=view.lengths.device) < view.lengths[:, None]
