"""The package as a stranger gets it: built, installed without the checkout, and used."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from lm_objectives import __main__ as command_line

ROOT = Path(__file__).parents[1]
CONFIGS = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
SMALL = "--trainer.max_steps 3 --trainer.val_check_interval 3 --trainer.limit_val_batches 1 --data.seq_len 32"


def call(*line: object, **options: object) -> str:
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.mark.slow
def test_wheel_and_sdist_hold_everything_and_the_wheel_trains_alone(tmp_path: Path) -> None:
    """The environment has the dependencies by a path file; the package comes from the wheel."""
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    [wheel], [sdist] = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    assert {name.removeprefix("lm_objectives/configs/") for name in held if name.endswith(".yaml")} == CONFIGS
    assert {"lm_objectives/py.typed", "lm_objectives/__init__.pyi"} <= held
    with tarfile.open(sdist) as file:
        assert sum("/lm_objectives/configs/" in name and name.endswith(".yaml") for name in file.getnames()) == len(
            CONFIGS
        )
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    [site] = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    call(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    place = {"cwd": tmp_path, "env": {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}}
    where = call(python, "-c", "import lm_objectives; print(lm_objectives.__file__)", **place)
    assert Path(where.strip()).is_relative_to(site)
    command = tmp_path / "env" / "bin" / "lm-objectives"
    assert "quickstart" in call(command, "configs", **place)
    call(command, "fit", "--config", "quickstart", *SMALL.split(), "--data.cache", tmp_path / "cache", **place)
    assert (tmp_path / "runs" / "quickstart" / "checkpoints" / "last.ckpt").is_file()


def test_installing_brings_nothing_that_only_tests_or_docs_need() -> None:
    needed = [text for text in metadata.requires("lm-objectives") or [] if "extra ==" not in text]
    names = " ".join(needed)
    assert not any(name in names for name in ("pytest", "mkdocs", "ruff", "mypy", "torchjd", "build", "accelerate"))


def test_a_dependency_outside_its_bounds_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.4.0+cpu" if name == "torch" else version(name))
    assert command_line.main(["fit", "--config", "quickstart"]) == 2
    assert capsys.readouterr().err == (
        'lm-objectives: error: expected torch <2.14,>=2.11, found 2.4.0+cpu: pip install "torch<2.14,>=2.11"\n'
    )
