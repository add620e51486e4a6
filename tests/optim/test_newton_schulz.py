"""Newton-Schulz iterations against singular values in double precision."""

import pytest
import torch
from utils.singular_values import by_singular_values

from lm_objectives.optim.muon import orthogonalize, orthogonalize_by_shape


@pytest.mark.parametrize("shape", [(8, 8), (8, 12), (8, 16), (8, 40)])
def test_orthogonalize_equals_the_polynomial_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([by_singular_values(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonalize(matrices), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(orthogonalize(matrices.float()), expected.float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(orthogonalize(matrices.bfloat16()), expected.bfloat16(), rtol=0, atol=0.1)


@pytest.mark.parametrize("columns", [24, 64])
def test_singular_values_come_near_one_in_the_same_directions(columns: int) -> None:
    generator = torch.Generator().manual_seed(1)
    u = torch.linalg.qr(torch.randn(24, 24, generator=generator)).Q
    v = torch.linalg.qr(torch.randn(columns, 24, generator=generator)).Q
    scales = torch.logspace(0, -2.5, 24)  # the least is 0.0024 of the norm
    result = orthogonalize((1e-3 * u @ torch.diag(scales) @ v.mT)[None])[0]
    inside = u.mT @ result @ v
    values = inside.diagonal()
    assert values.min() > 0.68 and values.max() < 1.21
    torch.testing.assert_close(inside, torch.diag(values), rtol=0, atol=1e-3)
    torch.testing.assert_close(result, u @ inside @ v.mT, rtol=0, atol=1e-3)


def test_a_matrix_does_not_depend_on_its_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    shapes = [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1), (4, 9), (6, 6)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    for matrix, result in zip(matrices, orthogonalize_by_shape(matrices), strict=True):
        torch.testing.assert_close(result, by_singular_values(matrix).float(), rtol=0, atol=1e-4)


def test_a_zero_gradient_gives_a_zero_update() -> None:
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 8)), torch.zeros(1, 3, 8))
