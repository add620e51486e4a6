"""Refusing input in one line."""

import pytest

from lm_objectives.errors import InputError, expect


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "expected a rate above 0, found -1: try 0.1"),
        ("Sampler", "Sampler expects a rate above 0, found -1: try 0.1"),
    ],
)
def test_what_is_not_valid_raises_and_what_is_passes(name: str | None, message: str) -> None:
    expect(True, "a rate above 0", -1, "try 0.1", name)
    with pytest.raises(InputError) as error:
        expect(False, "a rate above 0", -1, "try 0.1", name)
    assert str(error.value) == message
