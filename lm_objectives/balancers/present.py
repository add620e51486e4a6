"""Sums over the objectives that had rows in a step, without waiting for the device."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Sum of the present objectives' values; the others may hold anything, NaN included."""
    return torch.where(present, values, 0).sum()


def masked_mean(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Mean over the present objectives, 0 where there is none."""
    return masked_sum(values, present) / present.sum().clamp(min=1)


def normalize_to_count(
    weights: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]
) -> Float[Tensor, " objectives"]:
    """Weights scaled so that the present objectives' weights sum to how many they are."""
    return weights * present.sum() / masked_sum(weights, present)
