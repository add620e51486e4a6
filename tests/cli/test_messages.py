"""What a user reads of an error, whatever wraps it."""

import pytest
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lm_objectives.cli.messages import nearest, user_message, with_hint
from lm_objectives.errors import InputError


def wrapped(error: Exception) -> Exception:
    """As a parser does: an error of its own, whose cause the other one is."""
    outer = ValueError(f"Does not validate: {error}")
    outer.__cause__ = TypeError("another wrapping")
    outer.__cause__.__cause__ = error
    return outer


@pytest.mark.parametrize("wrap", [lambda error: error, wrapped], ids=["bare", "wrapped"])
def test_an_input_error_is_said_alone_and_in_one_line(wrap) -> None:  # type: ignore[no-untyped-def]
    assert user_message(wrap(InputError("expected a\n  plan, found none"))) == "expected a plan, found none"


def test_lightnings_own_says_where_it_was_set() -> None:
    found = user_message(wrapped(MisconfigurationException("No supported gpu backend found!")))
    assert found is not None and found.startswith(
        "expected trainer settings that can be carried out here, found: No sup"
    )


def test_a_constructors_error_goes_before_the_parsers() -> None:
    parsers = ArgumentError(None, "Parser key: expected a plan")
    parsers.__cause__ = wrapped(InputError("expected a plan, found none"))
    assert user_message(parsers) == "expected a plan, found none"
    assert user_message(ArgumentError(None, "a  b")) == "a b"


def test_anything_else_is_a_defect_whatever_its_wording() -> None:
    assert user_message(ValueError("expected a plan, found none: make one")) is None
    defect = KeyError("x")
    defect.__context__ = InputError("handled, and then a mistake in the handling")
    assert user_message(defect) is None


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("unrecognized arguments: --data.seq_length 3", ": did you mean data.seq_len?"),
        ("Option 'packin' is not accepted", ": did you mean data.packing?"),
        ("Group 'data' does not accept option 'seq_len_'", ": did you mean data.seq_len?"),
        ("unrecognized arguments: foo", ": write settings as --name value"),
        ("unrecognized arguments: --zzz", ": there are data.seq_len, data.packing"),
    ],
)
def test_hint(message: str, hint: str) -> None:
    assert with_hint(message, ["help", "print_config", "data.seq_len", "data.packing"]) == message + hint


def test_too_many_to_list() -> None:
    assert nearest("zzz", [f"a{number}" for number in range(99)]) == "--help lists all settings"
