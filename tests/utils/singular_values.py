"""What Newton-Schulz iterations do, by singular values in double precision."""

import torch
from torch import Tensor


def moved(values: Tensor) -> Tensor:
    """Where five Newton-Schulz iterations take singular values, by the scalar polynomial."""
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def by_singular_values(matrix: Tensor) -> Tensor:
    """The same as `orthogonalize`, through a decomposition in double precision."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    return u @ torch.diag(moved(s / s.norm())) @ vh
