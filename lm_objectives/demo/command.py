"""The command `demo`: what each objective of a checkpoint has learned, shown on a text."""

from typing import Any

import torch

from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling
from lm_objectives.demo.terminal import paint, wrapped
from lm_objectives.demo.texts import given_text
from lm_objectives.errors import InputError
from lm_objectives.training.run import load_run


def demo(
    ckpt_path: str,
    text: str | None = None,
    text_file: str | None = None,
    tokens: int = 40,
    temperature: float = 0.8,
    top_p: float = 0.9,
    greedy: bool = False,
    seed: int = 0,
) -> None:
    """Show what each objective of a checkpoint has learned.

    CausalLM and PrefixLM continue the text, MaskedLM fills masks in it, ReplacedToken looks for the tokens that its
    generator replaced, SentenceOrder and NextSentence judge two of its parts, SpanDenoising restores spans, and
    TextDenoising writes it anew from a corrupted one. Any other shows its loss and metrics, or what its own `exhibit`
    says.

    Args:
        ckpt_path: the checkpoint to read, for example runs/quickstart/checkpoints/last.ckpt.
        text: what to show it on, some sentences; by default a paragraph that the run held out, or a built-in one where
            the run's tokens are gone.
        text_file: a UTF-8 file to read the text from.
        tokens: length of a continuation in tokens, at least 1.
        temperature: of a continuation, above 0; below 1 prefers likely tokens.
        top_p: share of the probability that a continuation is drawn from, in (0, 1]; 1 draws from all tokens.
        greedy: whether a continuation takes the likeliest token each time, whatever temperature and top_p are.
        seed: chooses the paragraph, the masks and the samples.

    Raises:
        ValueError: when a setting is out of range, the text is empty, or the checkpoint cannot be read.
    """
    sampling, given = Sampling(tokens, temperature, top_p, greedy, seed), given_text(text, text_file)
    stage = make_context(load_run(ckpt_path), given, sampling)
    print("\n".join([f"{ckpt_path} on {stage.origin}", *map(paint, show(stage))]))


@torch.no_grad()
def show(stage: DemoContext) -> list[str]:
    """Show all objectives; of one for which the text does not do, say why."""
    shown: list[str] = []
    for name in stage.module.names:
        objective: Any = stage.module.objectives[name]
        shown.extend(["", f"{name} ({type(objective).__name__})"])
        try:
            shown.extend(list(objective.exhibit(stage)))
        except InputError as error:
            shown.extend(wrapped(str(error)))
    return shown
