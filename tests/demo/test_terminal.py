"""Lines fit the terminal, and colors are for terminals."""

import pytest

from lm_objectives.demo.terminal import color_verdict, list_items, wrap


def test_items_go_on_below_the_first_where_the_width_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "16")
    assert list_items("head: ", ["one", "two", "three"]) == ["head: one  two", "      three"]
    assert list_items("head: ", []) == []
    monkeypatch.setenv("COLUMNS", "40")
    assert list_items("head: ", ["one", "two", "three"]) == ["head: one  two  three"]


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_long_texts_and_items_are_wrapped(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    words = " ".join(["word"] * 80)
    for lines in (wrap(words), list_items("  head ", ["short", words])):
        assert " ".join(" ".join(lines).split()).endswith(words)
        assert min(columns, 110) - 5 <= max(map(len, lines)) <= min(columns, 110)


def test_verdicts_are_colored_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert color_verdict("   [1] hit  a miss") == "   [1] hit  a miss"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert color_verdict("   [1] hit  a miss") == "   [1] \033[32mhit\033[0m  a miss"
    assert color_verdict("  <extra_id_0>  miss right") == "  <extra_id_0>  \033[31mmiss\033[0m right"
    assert color_verdict("  a text that hit  home") == "  a text that hit  home"
    monkeypatch.setenv("NO_COLOR", "1")
    assert color_verdict("   [1] hit  a miss") == "   [1] hit  a miss"
