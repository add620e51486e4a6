"""YAML that no setting is: oracle, one line that names the place and the lines; else what PyYAML makes of it."""

import pytest
import yaml

from lm_objectives.errors import InputError
from lm_objectives.strict_yaml import load_yaml

WRONG = {
    "a: 1\nb: {c: 2}\na: 3": "each key once in x.yaml, found a on line 1 and again on line 3: keep",
    "m: {lr: 1,\n 'lr': 2}": "each key once in x.yaml, found lr on line 1 and again on line 2",
    "- {a: 1, a: 1}": "each key once",
    "3: x": "text for each key in x.yaml, found 3 on line 1: write it in quotes",
    "null: x": "text for each key",
    "? [a]\n: x": "text for each key in x.yaml, found a sequence on line 1",
    "a: &a [*a]": r"values that end in x.yaml, found an alias within itself on line 1: write them",
    "a: &a {b: {c: *a}}": "values that end",
    "[" * 10_000: "at most 50 levels in x.yaml, found more on line 1",
    "a: " + "{b: " * 10_000: "at most 50 levels",
    "\n".join(f"{' ' * n}a:" for n in range(200)): "at most 50 levels in x.yaml, found more on line 51",
    "a: " + "9" * 5_000: "numbers of at most 300 digits in x.yaml, found one of 5,000 on line 1",
    "a: -" + "9" * 301: "numbers of at most 300 digits",
    "a: &a ["
    + "x, " * 400
    + "]\nb: &b ["
    + "*a, " * 400
    + "]": "at most 100,000 values in x.yaml, found more on line 2",
}

FINE = [
    "",
    "{}",
    "a",
    "a: 1\nb: {a: 2}\nc: [{a: 1}, {a: 1}]",
    "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, x: 3}",
    "'3': x",
    "a: " + "9" * 300,
    "[" * 50 + "]" * 50,
    "[1.0e-3, .inf, true, null, text]",
]


def test_a_key_is_text_though_yaml_1_1_reads_it_as_true() -> None:
    assert load_yaml("a: {on: x, 'off': yes}", "x.yaml") == {"a": {"on": "x", "off": True}}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:20]))
def test_what_no_setting_is_has_one_line(text: str) -> None:
    with pytest.raises(InputError, match=WRONG[text]):
        load_yaml(text, "x.yaml")


@pytest.mark.parametrize("text", FINE, ids=lambda text: repr(text[:20]))
def test_everything_else_is_read_as_yaml(text: str) -> None:
    assert load_yaml(text, "x.yaml") == yaml.safe_load(text)


def test_a_date_is_text_as_for_the_parser() -> None:
    assert load_yaml("[2026-01-31, 2026-99-99]", "x.yaml") == ["2026-01-31", "2026-99-99"]


@pytest.mark.parametrize("text", ["a: 0x_", "{a: 1", "!!python/name:os.getcwd"])
def test_what_is_no_yaml_is_an_error_of_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text, "x.yaml")
