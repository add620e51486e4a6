"""Progress of a preparation: a bar on a terminal, one line for each phase elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_log = logging.getLogger("lm_objectives")


@contextmanager
def progress_bar(name: str, unit: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show the progress of one phase.

    Args:
        name: what is done.
        unit: what is counted.
        total: how many of them there will be; without it no time left is shown.

    Yields:
        A function that takes how many units more are done, and how many tokens more were made.
    """
    started, done, made = time.monotonic(), 0, 0
    with tqdm(desc=name, unit=f" {unit}", total=total, disable=None, dynamic_ncols=True, unit_scale=True) as bar:

        def advance(units: int, tokens: int = 0) -> None:
            nonlocal done, made
            done, made = done + units, made + tokens
            if tokens:
                bar.set_postfix_str(format_speed(made, time.monotonic() - started), refresh=False)
            bar.update(units)

        yield advance
    if bar.disable and done:
        seconds = time.monotonic() - started
        rate = f", {format_speed(made, seconds)}" if made else ""
        _log.info("%s: %s %s in %.1f s%s", name, f"{done:,}", unit, seconds, rate)


def format_speed(tokens: int, seconds: float) -> str:
    """Tokens, and tokens a second."""
    return f"{tokens:,} tokens, {tokens / max(seconds, 1e-9):,.0f} tokens/s"
