"""Every shipped configuration parses, and trains when it is made small; every shipped study can be planned."""

import re
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml
from utils.small_corpus import write_corpus

from lm_objectives.__main__ import main
from lm_objectives.cli.experiments import READER
from lm_objectives.comparison.planning import plan
from lm_objectives.comparison.planning.planner import Planner
from lm_objectives.comparison.study_file import read_study

CONFIGS = Path(__file__).parents[1] / "configs"
OVERLAYS = sorted(
    path for kind in ("balancers", "objectives", "optimizers") for path in (CONFIGS / kind).glob("*.yaml")
)
STUDIES = sorted((CONFIGS / "studies").glob("*.yaml"))
SMALL = [
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.val_check_interval", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.callbacks", "null", "--tracking.wandb", "off"),
    *(
        "--data.tokenizer",
        "300",
        "--data.seq_len",
        "32",
        "--data.global_batch_size",
        "32",
        "--data.batch_multiple",
        "4",
    ),
    *("--data.num_workers", "0", "--model.backbone.config.num_hidden_layers", "2"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags that keep the tokens of a small corpus in one folder for all of these tests."""
    place = tmp_path_factory.mktemp("cache")
    return ["--data.corpus", str(write_corpus(place / "corpus.jsonl")), "--data.cache", str(place)]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlay_trains_over_the_quickstart(overlay: Path, cache: list[str], tmp_path: Path) -> None:
    if "torchjd" in overlay.stem:
        pytest.importorskip("torchjd")
    run = ["--config", str(CONFIGS / "quickstart.yaml"), "--config", str(overlay)]
    assert main(["fit", *run, *SMALL, *cache, "--trainer.default_root_dir", str(tmp_path / "run")]) == 0
    chosen = yaml.safe_load(overlay.read_text(encoding="utf-8"))["model"]
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))["model"]
    for part, value in chosen.items():
        if part == "objectives":
            assert set(saved[part]) == set(value)
        elif part == "lr_schedule":
            assert value.items() <= saved[part].items()
        else:
            name = value if isinstance(value, str) else value["class_path"]
            assert saved[part]["class_path"].endswith(f".{name}")


def test_gpu_config_parses_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(CONFIGS / "gpu_110m.yaml"), "--print_config"])
    assert end.value.code in (0, None)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["precision"] == "bf16-mixed" and printed["trainer"]["strategy"] == "ddp"


def test_gpu_config_has_110_million_parameters() -> None:
    """Counted by formula: 4 d² + 3 d m + 2 d for each block, the embedding, and the last norm."""
    config = yaml.safe_load((CONFIGS / "gpu_110m.yaml").read_text(encoding="utf-8"))
    size = config["model"]["backbone"]["config"]
    d, m = size["hidden_size"], size["intermediate_size"]
    blocks = size["num_hidden_layers"] * (4 * d * d + 3 * d * m + 2 * d)
    assert blocks + config["data"]["tokenizer"] * d + d == pytest.approx(110e6, rel=0.01)


def test_gpu_config_trains_when_made_small(cache: list[str], tmp_path: Path) -> None:
    """Two steps in bf16 on the CPU, on one process."""
    small = ["--trainer.devices", "1", "--trainer.strategy", "auto", "--model.backbone.config.hidden_size", "96"]
    run = ["fit", "--config", str(CONFIGS / "gpu_110m.yaml"), *SMALL, *small, *cache]
    assert main([*run, "--model.lr_schedule.warmup", "1", "--trainer.default_root_dir", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "metrics.csv").is_file()


@pytest.mark.parametrize("overlay", sorted((CONFIGS / "objectives").glob("*.yaml")), ids=lambda path: path.stem)
def test_objectives_are_the_same_over_the_quickstart_as_alone(
    overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of the quickstart's own arguments shows through."""
    printed = []
    for under in ([], ["--config", str(CONFIGS / "quickstart.yaml")]):
        with pytest.raises(SystemExit):
            main(["fit", *under, "--config", str(overlay), "--model.backbone.model_type", "llama", "--print_config"])
        printed.append(yaml.safe_load(capsys.readouterr().out)["model"]["objectives"])
    assert printed[0] == printed[1]


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_study_has_arms_that_fit_reads(file: Path) -> None:
    """Its folder has its name, since two studies in one folder are refused."""
    study = read_study(file)
    planner = Planner(study, READER, threads=1)
    for name, arm in study.arms.items():
        objectives = planner.read(name, {})["model"]["objectives"]
        assert {*(arm.ratio or {})} <= {*objectives}
    assert study.name == file.stem and study.claims


@pytest.mark.slow
@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_study_is_planned_as_its_page_shows(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle is the page's own table, up to the minutes."""

    def untimed(runs: Collection[str], *ignored: object) -> dict[str, float]:
        return dict.fromkeys(runs, 1.0)

    monkeypatch.setattr(plan, "time_steps", untimed)
    assert main(["compare", str(file), "--dry_run"]) == 0
    printed = capsys.readouterr().out
    docs = CONFIGS.parent / "docs"
    pages = [docs / "comparing.md", docs / "studies" / "README.md", *(docs / "studies").glob("*/report.txt")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    study = read_study(file)
    for arm in study.arms:
        lines = re.findall(rf"^{arm} .* M(?=  )", printed, re.MULTILINE)
        assert len(lines) == len(study.budget.amounts) and all(line in shown for line in lines)
