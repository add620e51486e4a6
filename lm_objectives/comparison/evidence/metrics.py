"""What the numbers of an evaluation mean: which are better when greater, their units, and how they are written."""

from typing import Literal

from lm_objectives.errors import InputError, expect
from lm_objectives.evaluation.tasks.held_out import HeldOut
from lm_objectives.evaluation.tasks.probes import Probes

Direction = Literal["greater", "smaller"]

_SHARES = ("accuracy", "accuracy_by_mean", "auc", "f1")
_LOSSES = ("nats", "bits_per_byte", "perplexity", "loss", "generator", "discriminator")
_NATS = ("nats", "loss", "generator", "discriminator")
_PERCENT = (*_SHARES, "control_accuracy", "calibration_error", "accuracy_seed_deviation")
_NEITHER = ("entropy", "temperature", "control_accuracy", "accuracy_seed_deviation")

_DECIMALS = 3  # of what is no share
_SMALL = 0.0095  # from here on down, two digits instead of three decimals


def complete(number: str) -> str:
    """A number's whole name, with the metric that is meant where none is given.

    >>> complete("held_out/causal"), complete("blimp/causal"), complete("probes/order/causal_layer_4")
    ('held_out/causal/nats', 'blimp/causal/accuracy', 'probes/order/causal_layer_4/accuracy')

    Raises:
        InputError: where it is not task/reading or task/reading/metric, each probe being a task, as probes/order.
    """
    parts, least, form, example = number.split("/"), 2, "task/reading/metric", "held_out/causal"
    if parts[0] == Probes.name:
        least, form, example = 3, "probes/order/layer/metric", "probes/order/bidirectional_layer_4"
    valid = least <= len(parts) <= least + 1 and all(parts)
    expect(valid, f"a number as {form}", number or "none", f"write {example}, say")
    return number if len(parts) > least else f"{number}/{default_metric(parts[0])}"


def default_metric(task: str) -> str:
    """The metric of a task that decides where none is named."""
    return "nats" if task == HeldOut.name else "accuracy"


def split(number: str) -> tuple[str, str, str]:
    """Task, reading and metric of a whole name.

    >>> split("probes/order/causal_layer_4/accuracy")
    ('probes/order', 'causal_layer_4', 'accuracy')
    """
    task, reading, metric = number.rsplit("/", 2)
    return task, reading, metric


def direction(number: str) -> Direction | None:
    """Whether a greater or a smaller value is the better one; `None` where neither is, or nothing is known of it.

    >>> direction("blimp/causal/accuracy"), direction("held_out/causal/nats"), direction("held_out/causal/entropy")
    ('greater', 'smaller', None)
    """
    metric = split(number)[2]
    if metric in _SHARES:
        return "greater"
    return "smaller" if metric in (*_LOSSES, "calibration_error") else None


def claimed_direction(number: str) -> Direction:
    """The direction of a number that a claim is on.

    Raises:
        InputError: where it has none.
    """
    found = direction(number)
    if found is None:
        known = "more of it is neither better nor worse" if split(number)[2] in _NEITHER else "its metric is not known"
        raise InputError(
            f"expected a claim on a number of which one direction is better, found {number}: {known}; claim one of "
            f"{', '.join((*_SHARES, *_LOSSES[:2], 'calibration_error'))}"
        )
    return found


def is_percent(number: str) -> bool:
    """Whether it is a share, which is written in per cent."""
    return split(number)[2] in _PERCENT


def describe(number: str) -> str:
    """A number in words.

    >>> describe("blimp/causal/accuracy"), describe("held_out/masked/bits_per_byte")
    ('blimp, read as causal', 'bits per byte of held_out, read as masked')
    """
    task, reading, metric = split(number)
    name = f"{task}, read as {reading}"
    return name if metric == default_metric(task) else f"{metric.replace('_', ' ')} of {name}"


def unit(number: str) -> str:
    """The unit of its differences.

    >>> unit("blimp/causal/accuracy"), unit("held_out/causal/bits_per_byte"), unit("held_out/replaced/generator")
    ('points', 'bits per byte', 'nats')
    """
    metric = split(number)[2]
    return "points" if is_percent(number) else "nats" if metric in _NATS else metric.replace("_", " ")


def format_value(number: str, value: float) -> str:
    """A value, with the sign of per cent where it is a share.

    >>> format_value("blimp/causal/accuracy", 0.5731), format_value("held_out/causal/nats", 3.5449)
    ('57.3 %', '3.545')
    """
    return f"{format_plain(number, value)} %" if is_percent(number) else format_plain(number, value)


def format_plain(number: str, value: float) -> str:
    """A value without its unit.

    >>> format_plain("blimp/causal/accuracy", 0.5731)
    '57.3'
    """
    return f"{100 * value:.1f}" if is_percent(number) else f"{value:.{_DECIMALS}f}"


def format_difference(number: str, difference: float) -> str:
    """A difference with its sign, in points where it is one of shares.

    >>> format_difference("blimp/causal/accuracy", 0.0071), format_difference("held_out/causal/nats", -0.0154)
    ('+0.7', '-0.015')
    """
    amount = _amount(number, difference)
    return amount if amount.startswith("-") else f"+{amount}"


def format_amount(number: str, amount: float) -> str:
    """A difference's size with its unit.

    >>> format_amount("blimp/causal/accuracy", 0.0142), format_amount("held_out/causal/nats", 0.31)
    ('1.4 points', '0.310 nats')
    """
    return f"{_amount(number, amount)} {unit(number)}"


def format_range(number: str, low: float, high: float) -> str:
    """An interval of differences, without its unit.

    >>> format_range("held_out/causal/nats", -0.00484, 0.02596)
    '-0.0048 to 0.026'
    """
    return f"{_amount(number, low)} to {_amount(number, high)}"


def format_p(p: float, level: float = 0.05) -> str:
    """A p-value as the field writes it, with digits enough to tell it from the level.

    >>> [format_p(p) for p in (0.0577, 0.0002, 0.00001, 0.0499, 1.0)]
    ['.058', '.0002', '< .0001', '.0499', '1']
    """
    if p < 1e-4:
        return "< .0001"
    digits = next((d for d in range(2, 9) if (float(f"{p:.{d}g}") < level) == (p < level)), 9)
    return f"{p:.{digits}g}".removeprefix("0")


def _amount(number: str, amount: float) -> str:
    if is_percent(number):
        points = f"{100 * amount:.1f}"
        return "0.0" if points == "-0.0" else points
    return f"{amount:.2g}" if 0 < abs(amount) < _SMALL else f"{amount:.{_DECIMALS}f}"
