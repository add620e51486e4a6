"""Muon against its equation, torch's own Muon, and torch's AdamW; Newton-Schulz against singular values."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from utils.singular_values import by_singular_values

from lm_objectives.optim import LRSchedule, Muon, parameter_groups
from lm_objectives.optim.muon import orthogonalize, orthogonalize_by_shape


@pytest.mark.parametrize("shape", [(12, 12), (30, 12), (12, 30)])
def test_two_steps_equal_the_documented_equation(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    start, *gradients = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.2)
    expected, momentum = start.clone(), torch.zeros_like(start)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.9 * momentum + 0.1 * gradient
        update = by_singular_values(0.9 * momentum + 0.1 * gradient) * max(1, shape[0] / shape[1]) ** 0.5
        expected = (1 - 0.1 * 0.2) * expected - 0.1 * update
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_a_weight_stored_transposed_moves_like_the_weight(shape: tuple[int, int]) -> None:
    """Oracle: the same weight stored as outputs × inputs."""
    start, gradient = torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))
    plain, transposed = nn.Parameter(start.clone()), nn.Parameter(start.T.clone())
    plain.grad, transposed.grad = gradient.clone(), gradient.T.clone()
    Muon([plain], lr=0.1).step()
    Muon([{"params": [transposed], "role": "matrix", "transposed": True}], lr=0.1).step()
    torch.testing.assert_close(transposed.detach().T, plain.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (40, 16), (16, 40)])
def test_one_step_equals_torch_muon(shape: tuple[int, int]) -> None:
    """Within the rounding of bfloat16, which torch's iterations run in."""
    generator = torch.Generator().manual_seed(4)
    start, gradient = torch.randn(2, *shape, generator=generator)
    updates = []
    for kind in (Muon, torch.optim.Muon):
        weight = nn.Parameter(start.clone())
        weight.grad = gradient.clone()
        kind([weight], lr=0.5, momentum=0.95, weight_decay=0.1).step()
        updates.append(weight.detach() - start)
    assert (updates[0] - updates[1]).norm() < 0.02 * updates[1].norm()


def model() -> nn.Module:
    """Two matrices, a table, a convolution and vectors."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Embedding(10, 4), nn.Linear(4, 8), nn.Linear(8, 4), nn.Conv1d(4, 4, 2), nn.LayerNorm(4)])


def gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_other_roles_equal_torch_adamw() -> None:
    ours, theirs = model(), model()
    groups = parameter_groups(theirs, 10)
    adamw = torch.optim.AdamW(groups, lr=5e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    muon = Muon(parameter_groups(ours, 10), adamw_lr=5e-3, weight_decay=0.1)
    schedules = [LRSchedule(warmup=3, min_lr_ratio=0.1).lr_scheduler(optimizer, 8) for optimizer in (muon, adamw)]
    for seed in range(8):
        for module, optimizer, schedule in zip((ours, theirs), (muon, adamw), schedules, strict=True):
            gradients(module, seed)
            optimizer.step()
            schedule.step()
    compared = 0
    for group, other in zip(muon.param_groups, adamw.param_groups, strict=True):
        if group["role"] != "matrix":
            assert group["lr"] == pytest.approx(5e-4)
            torch.testing.assert_close(group["params"], other["params"], rtol=0, atol=1e-6)
            compared += len(group["params"])
    assert compared == 7


def test_a_resume_is_bit_identical() -> None:
    def run(module: nn.Module, optimizer: Muon, schedule: Any, seeds: range) -> None:
        for seed in seeds:
            gradients(module, seed)
            optimizer.step()
            schedule.step()

    def make(module: nn.Module) -> tuple[Muon, Any]:
        optimizer = Muon(parameter_groups(module, 10), weight_decay=0.1)
        return optimizer, LRSchedule(warmup=2).lr_scheduler(optimizer, 6)

    whole = model()
    run(whole, *make(whole), range(6))

    halves = model()
    optimizer, schedule = make(halves)
    run(halves, optimizer, schedule, range(3))
    file = io.BytesIO()
    torch.save([halves.state_dict(), optimizer.state_dict(), schedule.state_dict()], file)
    file.seek(0)
    resumed = model()
    optimizer, schedule = make(resumed)
    for part, state in zip((resumed, optimizer, schedule), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    run(resumed, optimizer, schedule, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_parameters_without_gradient_are_untouched() -> None:
    module = model()
    before = copy.deepcopy(module.state_dict())
    optimizer = Muon(parameter_groups(module, 10), weight_decay=0.5)
    optimizer.step()
    assert not optimizer.state
    gradients(module, 0)
    module[1].weight.grad = module[0].weight.grad = None
    optimizer.step()
    same = {name for name, value in module.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"0.weight", "1.weight"}


def test_parameters_without_role_go_by_dimension() -> None:
    module = nn.Linear(3, 4)
    expected = [("matrix", 0.02, [module.weight]), ("vector", 3e-3, [module.bias])]
    for params in (module.parameters(), module.named_parameters(), [{"params": list(module.parameters())}]):
        groups = Muon(params).param_groups
        assert [(group["role"], group["lr"]) for group in groups] == [part[:2] for part in expected]
        assert all(group["params"][0] is part[2][0] for group, part in zip(groups, expected, strict=True))


def test_a_groups_own_rate_goes_first() -> None:
    vector = nn.Parameter(torch.zeros(3))
    assert Muon([{"params": vector, "role": "vector", "lr": 0.7}]).param_groups[0]["lr"] == 0.7


def test_step_returns_the_closures_loss() -> None:
    weight = nn.Parameter(torch.eye(3))
    optimizer = Muon([weight])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] == 3 and losses == sorted(losses, reverse=True)


BAD = [
    ({"lr": -0.1}, "expected lr of at least 0, found -0.1: choose a rate such as 0.01"),
    ({"adamw_lr": float("nan")}, "expected adamw_lr of at least 0, found nan: choose a rate such as 0.01"),
    ({"momentum": 1.0}, "expected momentum in [0, 1), found 1.0: choose a rate such as 0.95"),
    ({"betas": (0.9, 1.0)}, "expected betas[1] in [0, 1), found 1.0: choose a rate such as 0.95"),
    ({"eps": 0.0}, "expected eps above 0, found 0.0: choose a small number such as 1e-8"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Muon([nn.Parameter(torch.zeros(2, 2))], **settings)
    assert str(caught.value) == message


def test_a_vector_is_no_matrix() -> None:
    with pytest.raises(ValueError) as caught:
        Muon([{"params": [nn.Parameter(torch.zeros(3))], "role": "matrix"}])
    expected = "expected 2-D weights in a group of role matrix, found shape (3,): name another role"
    assert str(caught.value) == expected


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
