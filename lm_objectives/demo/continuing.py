"""A text continued: behind its tokens, or behind them as a prefix."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lm_objectives.demo.layout import wrapped
from lm_objectives.demo.writing import Head, input_view, generate

if TYPE_CHECKING:
    from lm_objectives.demo.stage import DemoContext

_SMALL = 50_000_000  # parameters below which sampled text does not read as text


def continued(stage: "DemoContext", head: Head) -> Iterator[str]:
    """The prompt and a continuation; where both are longer than the window, the model sees the last of it."""
    read, sampling = input_view(stage.prompt[-stage.seq_len :], "causal"), stage.sampling
    end = stage.vocabulary.eos
    written = generate(stage.backbone, read, head, sampling.token_sampler(), sampling.tokens, end, stage.seq_len)
    yield from _told(stage, "given:    ", stage.prompt, written)


def continued_behind_prefix(
    stage: "DemoContext", head: Head, mode: Sequence[int] = (), decodes: bool = False
) -> Iterator[str]:
    """The prompt as a prefix that sees itself whole, and a continuation that fits the window with it.

    Args:
        stage: what it is shown on.
        head: of the objective.
        mode: the tokens that the objective puts in front.
        decodes: whether a decoder writes the continuation, behind an encoder that reads the prefix.
    """
    sampling, room = stage.sampling, stage.seq_len - len(mode)
    most = min(sampling.tokens, room // 2)
    prefix = stage.prompt[most - room :]
    read = input_view([*mode, *prefix], "bidirectional" if decodes else "prefix", decodes)
    written = generate(stage.backbone, read, head, sampling.token_sampler(), most, stage.vocabulary.eos, stage.seq_len)
    yield from _told(stage, "prefix:   ", prefix, written)


def _told(stage: "DemoContext", label: str, prompt: Sequence[int], written: Sequence[int]) -> Iterator[str]:
    ids = prompt[1:] if prompt[0] == stage.vocabulary.bos else prompt
    given, whole = stage.decode(ids), stage.decode([*ids, *written])
    yield from wrapped(f"{label} {given}")
    yield from wrapped(f"continued: {whole[len(given) :]}")
    size = sum(parameter.numel() for parameter in stage.backbone.parameters())
    if size < _SMALL:
        yield f"  (Text sampled from a small model is poor, and this one has {size / 1e6:.1f} M parameters.)"
