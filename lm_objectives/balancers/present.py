"""Sums over the objectives that had rows in a step, without waiting for the device."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def present_sum(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Sum of the present objectives' values; the others may hold anything, NaN included."""
    return torch.where(present, values, 0).sum()


def present_mean(values: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]) -> Float[Tensor, ""]:
    """Mean over the present objectives, 0 where there is none."""
    return present_sum(values, present) / present.sum().clamp(min=1)


def sum_to_count(
    weights: Float[Tensor, " objectives"], present: Bool[Tensor, " objectives"]
) -> Float[Tensor, " objectives"]:
    """Weights scaled so that the present objectives' weights sum to how many they are."""
    return weights * present.sum() / present_sum(weights, present)
