"""Compile the shared model of a compiled module: the rest of an optimizer step is Python that no tracer can follow."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch

from lm_objectives.backbone.backbone import Backbone

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


def compile_backbones(module: L.LightningModule, compiler: Compiler | None) -> None:
    """Compile the models of a module's backbones, an objective's generator too, where they run with gradients.

    Held-out batches are of one objective and of any number of rows: compiling them would take longer than they do.

    Args:
        module: a built one; that of a `torch.compile(module)`, which Lightning unwraps, has a compiler of its own.
        compiler: compiles a function; `None` where nothing else is to be compiled.
    """
    context = module._compiler_ctx
    compiler = context["dynamo_ctx"] if context else compiler
    for part in module.modules():
        if isinstance(part, Backbone) and compiler is not None:
            part.model._compiled_call_impl = _with_gradients(compiler(part.model._call_impl), part.model._call_impl)


def _with_gradients(compiled: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*args, **kwargs)

    return call
