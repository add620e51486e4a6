"""The end of the last layer at some positions alone: behind its attention, each position goes its own way."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_objectives.backbone.encode import encode, input_view

_ROWS, _TIME = 2, 8  # of the rows that are tried
_TRIED = (1, 6, 11)  # flat positions in them


@torch.no_grad()
def position_wise_end(model: Any, layer: nn.Module) -> list[nn.Module]:
    """The modules of the last layer that run behind all that mix positions.

    Found by running a few tokens, so that no family is known here: a module is of these if it gives at some positions
    alone what it gives at them among all. There are none where a module runs twice, as in ALBERT's repeated layer, or
    where the hidden states are other ones once these modules run at some positions alone.

    Args:
        model: of transformers without a head, in evaluation mode.
        layer: its last.
    """
    device = next(model.parameters()).device
    ids, positions = torch.arange(_ROWS * _TIME, device=device), torch.tensor(_TRIED, device=device)
    view = input_view(ids.view(_ROWS, _TIME) % model.config.vocab_size, "bidirectional")
    calls: list[tuple[nn.Module, bool]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        calls.append((module, not named and _is_position_wise(module, inputs, output, positions)))

    def states() -> Float[Tensor, "positions dim"]:
        return encode(model, [view])[0].flatten(0, 1)[positions]

    with torch.autocast(device.type, enabled=False):
        with ExitStack() as hooks:
            for module in layer.children():
                hooks.enter_context(module.register_forward_hook(record, with_kwargs=True))
            expected = states()
        mixing = [number for number, (_, alone) in enumerate(calls) if not alone]
        modules = [module for module, _ in calls[mixing[-1] + 1 :]] if mixing else []
        with run_at(modules, positions):
            found = states()
    once = len({id(module) for module, _ in calls}) == len(calls)
    return modules if once and _equal(found, expected) else []


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
    if not all(isinstance(value, Tensor) and value.shape[:2] == (_ROWS, _TIME) for value in (*inputs, output)):
        return False
    return _equal(module.forward(*_at(inputs, positions))[0], output.flatten(0, 1)[positions])


def _at(inputs: tuple[Tensor, ...], positions: Tensor) -> tuple[Tensor, ...]:
    """Inputs at some flat positions, as one row."""
    return tuple(value.flatten(0, 1).index_select(0, positions)[None] for value in inputs)


def _equal(found: Tensor, expected: Tensor) -> bool:
    """Whether numbers are the same but for rounding."""
    return bool((found - expected).norm() <= 1e-5 * expected.norm())
