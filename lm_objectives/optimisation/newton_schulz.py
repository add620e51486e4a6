"""Matrices made nearly orthogonal by matrix products alone."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrices: Float[Tensor, "matrices rows columns"]) -> Float[Tensor, "matrices rows columns"]:
    """Each matrix U S Vᵀ with its singular values moved to about 1, near U Vᵀ, by Newton-Schulz iterations.

    X ← P X with P = a I + b X Xᵀ + c (X Xᵀ)², five times from X / ‖X‖, with a = 3.4445, b = -4.7750, c = 2.0315. These
    coefficients trade accuracy for slope at 0: singular values of at least 0.002 ‖X‖ end in [0.68, 1.21]. Products run
    in the precision given, and the Gram matrix X Xᵀ is rows by rows, so pass matrices with rows ≤ columns.
    """
    rows, columns = matrices.shape[1:]
    x = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-7)
    # The iterations of a wide matrix are cheaper on X Xᵀ alone, but squared values need more than half precision.
    if columns < 2 * rows or x.dtype == torch.bfloat16:
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
        return x
    gram = x @ x.mT
    product = polynomial = _polynomial(gram)
    for _ in range(ITERATIONS - 1):
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram)
        product = polynomial @ product
    return product @ x


def _polynomial(gram: Float[Tensor, "matrices rows rows"]) -> Float[Tensor, "matrices rows rows"]:
    result = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
    result.diagonal(dim1=-2, dim2=-1).add_(A)
    return result


def orthogonalize_by_shape(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices of any shapes through `orthogonalize`, those of one shape, transposed or not, in one batch.

    In bfloat16 on a GPU and in single precision on a CPU, where bfloat16 is often slow; double stays double.
    """
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        alike[matrix.device, matrix.dtype, min(matrix.shape), max(matrix.shape)].append(index)
    results = list(matrices)
    for (device, dtype, rows, _), indices in alike.items():
        wide = [matrices[index] if matrices[index].shape[0] == rows else matrices[index].mT for index in indices]
        precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        stack = torch.stack(wide).to(dtype if dtype == torch.float64 else precision)
        for index, result in zip(indices, orthogonalize(stack).to(dtype), strict=True):
            results[index] = result if matrices[index].shape[0] == rows else result.mT
    return results
