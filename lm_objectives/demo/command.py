"""The command `demo`: what each objective of a checkpoint has learned, shown on a text."""

from pathlib import Path
from typing import Any

import torch

from lm_objectives.demo import show_pairs, show_seq2seq, show_tokens  # noqa: F401 - they register the lines of the shipped objectives
from lm_objectives.demo.context import DemoContext, make_context
from lm_objectives.demo.generate import Sampling
from lm_objectives.demo.show import show
from lm_objectives.demo.terminal import color_verdict, wrap
from lm_objectives.errors import InputError, expect
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
    import_module: str | list[str] | None = None,
) -> None:
    """Show what each objective of a checkpoint has learned.

    CausalLM and PrefixLM continue the text, MaskedLM fills masks in it, ReplacedToken looks for the tokens that its
    generator replaced, SentenceOrder and NextSentence judge two of its parts, SpanDenoising restores spans, and
    TextDenoising restores the text from a corrupted one. Any other shows its loss and metrics, or the lines that are
    registered for it with `show`.

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
        import_module: module of yours, or several, whose classes the checkpoint names; no other is imported for it.

    Raises:
        InputError: when a setting is out of range, the text is empty, or the checkpoint cannot be read.
    """
    sampling, given = Sampling(tokens, temperature, top_p, greedy, seed), read_text(text, text_file)
    context = make_context(load_run(ckpt_path, import_module or ()), given, sampling)
    print("\n".join([f"{ckpt_path} on {context.origin}", *map(color_verdict, show_all(context))]))


@torch.no_grad()
def show_all(context: DemoContext) -> list[str]:
    """Lines of all objectives; of one that cannot be shown on the text, the reason."""
    lines: list[str] = []
    for name in context.module.names:
        objective: Any = context.module.objectives[name]
        lines.extend(["", f"{name} ({type(objective).__name__})"])
        try:
            lines.extend(show(objective, context))
        except InputError as error:
            lines.extend(wrap(str(error)))
    return lines


def read_text(text: str | None, text_file: str | None) -> str | None:
    """The user's text, or `None` where there is none.

    Raises:
        InputError: when it is given twice, is empty, or its file cannot be read.
    """
    expect(text is None or text_file is None, "either text or text_file", "both", "leave one of them out")
    if text_file is not None:
        path = Path(text_file).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            found = f"other bytes at offset {error.start}: convert the file"
            raise InputError(f"expected UTF-8 text in {path}, found {found}") from error
        except OSError as error:
            found = f"one that cannot be read ({error.strerror})" if path.exists() else "no such file"
            raise InputError(f"expected a text file at {path}, found {found}: check the path") from error
    mend = "leave text out for a held-out paragraph"
    expect(text is None or bool(text.strip()), "a text with words", "an empty one", mend)
    return text
