"""The end of the last layer at some positions alone: behind its attention, each position goes its own way."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_objectives.backbone.encode import encode, input_view
from lm_objectives.views import gather_positions

_ROWS, _LONGEST = 2, 8  # rows that are tried, and tokens in each


@torch.no_grad()
def position_wise_end(model: Any, layer: nn.Module, seq_len: int) -> list[nn.Module]:
    """The modules of the last layer that run behind all that mix positions.

    Found by running a few tokens, so that no family is known here: a module is of these if it gives at some positions
    alone what it gives at them among all. There are none where a module runs twice, or where the hidden states are
    other ones once these modules run at some positions alone.

    Args:
        model: of transformers without a head, in evaluation mode.
        layer: its last.
        seq_len: tokens that the model can read at least.
    """
    device, time = next(model.parameters()).device, min(seq_len, _LONGEST)
    ids = torch.arange(_ROWS * time, device=device).view(_ROWS, time) % model.config.vocab_size
    view, positions = input_view(ids, "bidirectional"), torch.tensor([0, time // 2, 2 * time - 1], device=device)
    calls: list[tuple[nn.Module, bool]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        calls.append((module, not named and _is_position_wise(module, inputs, output, positions)))

    def states() -> Float[Tensor, "positions dim"]:
        return gather_positions(encode(model, [view])[0], positions)

    with torch.autocast(device.type, enabled=False):
        with ExitStack() as hooks:
            for module in layer.children():
                hooks.enter_context(module.register_forward_hook(record, with_kwargs=True))
            expected = states()
        mixing = [number for number, (_, alone) in enumerate(calls) if not alone]
        modules = [module for module, _ in calls[mixing[-1] + 1 :]] if mixing else []
        if len({id(module) for module, _ in calls}) < len(calls):
            return []
        with run_at(modules, positions):
            found = states()
    return modules if _equal(found, expected) else []


@contextmanager
def run_at(modules: Sequence[nn.Module], positions: Int[Tensor, " positions"]) -> Iterator[None]:
    """Run modules at some flat positions, `row * time + position`, alone; they give zeros at all others."""
    shapes: list[torch.Size] = []

    def gather(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        shapes.append(inputs[0].shape[:2])
        return _at(inputs, positions)

    def scatter(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, inputs
        shape = shapes.pop()
        whole = output.new_zeros(shape.numel(), *output.shape[2:])
        return whole.index_copy_(0, positions, output[0]).unflatten(0, shape)

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_pre_hook(gather))
            hooks.enter_context(module.register_forward_hook(scatter))
        yield


def _is_position_wise(module: nn.Module, inputs: tuple[Any, ...], output: Any, positions: Tensor) -> bool:
    """Whether a module gives at some positions alone what it gives at them among all."""
    rows = all(isinstance(value, Tensor) and value.ndim == 3 and len(value) == _ROWS for value in (*inputs, output))
    return rows and _equal(module.forward(*_at(inputs, positions))[0], gather_positions(output, positions))


def _at(inputs: tuple[Tensor, ...], positions: Tensor) -> tuple[Tensor, ...]:
    """Inputs at some flat positions, as one row."""
    return tuple(gather_positions(value, positions)[None] for value in inputs)


def _equal(found: Tensor, expected: Tensor) -> bool:
    """Whether numbers are the same but for rounding."""
    return bool((found - expected).norm() <= 1e-5 * expected.norm())
