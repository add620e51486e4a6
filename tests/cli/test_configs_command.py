"""`configs`, and shipped configurations by name: what comes out is the file itself."""

from pathlib import Path

import pytest
from utils.command_line import run

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


def test_all_are_listed_with_the_beginning_of_their_comment(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("configs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for name, line in zip(NAMES, lines, strict=True):
        first = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        described = line.split(maxsplit=1)[1].removesuffix(" …")
        assert len(described) <= 100 and (described.startswith(first[2:]) or first[2:].startswith(described))


def test_one_is_printed_or_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (CONFIGS / "quickstart.yaml").read_text(encoding="utf-8")
    assert run("configs", "quickstart") == 0
    assert capsys.readouterr().out == text
    target = tmp_path / "mine.yaml"
    assert run("configs", "quickstart", "--output", target) == 0
    assert target.read_text(encoding="utf-8") == text
    capsys.readouterr()
    assert run("configs", "recipes/bert", "--output", target) == 2
    assert "expected a new file for output, found" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("form", [["--config", "quickstart"], ["--config=quickstart"], ["-c", "quickstart"]])
def test_a_name_is_its_file(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", *form, "--print_config") == 0
    by_name = capsys.readouterr().out
    assert run("fit", "--config", CONFIGS / "quickstart.yaml", "--print_config") == 0
    assert by_name == capsys.readouterr().out


def test_a_file_of_that_name_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart").write_text("data: {seq_lenn: 8}\n", encoding="utf-8")
    assert run("fit", "--config", "quickstart") == 2
    assert "did you mean data.seq_len?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "near"), [("quikstart", "quickstart"), ("bert", "recipes/bert"), ("balancers/gradnorn", "gradnorm")]
)
@pytest.mark.parametrize("command", [["configs"], ["fit", "--config"]])
def test_an_unknown_name_is_one_line(
    found: str, near: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, found) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"found '{found}'" in line and near in line and "lm-objectives configs lists them" in line
