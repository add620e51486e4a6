"""The command `compare`: small studies of a small corpus, whole, killed, in parts, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from utils.command_line import PROGRAM, complaint, contents, environment, run

from lm_objectives.comparison.running.study_run import RESULT

Change = Callable[[dict[str, Any]], Any]


def study_of(place: Path, output: Path) -> dict[str, Any]:
    """Two arms and three seeds, six steps of the first."""
    return {
        "base": [str(place / "tiny.yaml")],
        "arms": {"causal": {"ratio": {"causal": 1}}, "mixed": {"ratio": {"causal": 2, "order": 1}}},
        "seeds": 3,
        "budget": {"steps_of": "causal", "steps": 6},
        "evaluate": {"tasks": ["held_out"], "items": 16},
        "claims": [{"better": "mixed", "than": "causal", "on": "held_out/causal"}],
        "output": str(output),
    }


def written(study: dict[str, Any], folder: Path) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    return file


def report_of(output: Path) -> tuple[str, dict[str, Any]]:
    """The report and its numbers, but for times and costs."""
    text, _, cost = (output / "report.md").read_text(encoding="utf-8").partition("\n## Cost\n")
    assert cost
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    del results["cost"], results["study"]["output"]
    return text, results


def results_of(output: Path) -> list[str]:
    return sorted(str(file.relative_to(output)) for file in output.rglob(RESULT))


def test_a_dry_run_says_what_would_be_and_writes_nothing(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(study_of(place, tmp_path / "out"), tmp_path)
    assert run("compare", file, "--dry_run") == 0
    printed = capfd.readouterr().out
    assert [*tmp_path.iterdir()] == [file]
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(("causal ", "mixed "))}
    assert rows["causal"][5] == "6" and rows["mixed"][1:4] == ["causal,", "order", "2:1"]
    assert "6 runs" in printed and "same start of the backbone: causal, mixed; same rows of causal in " in printed
    assert "! settings were not tuned per arm" in printed and "! 3 seeds show only differences of 3.3 sd" in printed


REFUSED: dict[str, tuple[Change, str]] = {
    "an unknown key": (lambda s: s.update(arm={}), "expected known keys in .*study.yaml, found arm: did you mean arms"),
    "an unknown objective": (
        lambda s: s["arms"]["mixed"]["ratio"].update(ordr=1),
        "arm mixed: expected objectives of the base in its ratio, found 'ordr': did you mean order",
    ),
    "an unknown setting": (
        lambda s: s["arms"]["mixed"].update(set={"model.backbone.modl_type": "gpt2"}),
        "arm mixed: expected known settings, found model.backbone.modl_type: did you mean model.backbone.model_type",
    ),
    "a value that is none": (
        lambda s: s["arms"]["mixed"].update(set={"data.seq_len": 4}),
        "arm mixed: expected data.seq_len of at least 8, found 4",
    ),
    "a base that is not there": (
        lambda s: s.update(base="none.yaml"),
        "arm causal: expected a config file at none.yaml",
    ),
    "a configuration that is not there": (
        lambda s: s["arms"]["mixed"].update(config="balancers/gradnrm"),
        "arm mixed: expected a file or the name of a shipped configuration, .* did you mean balancers/gradnorm",
    ),
    "a reading that an arm lacks": (
        lambda s: s["claims"][0].update(on="held_out/order"),
        "expected order, as held_out/order is read, of arm causal, found causal: name one that all of these",
    ),
    "a reading that nobody has": (
        lambda s: s["claims"][0].update(on="held_out/spans"),
        "expected a reading that an arm has in held_out/spans, found spans: arms have causal, order",
    ),
    "a probe that there is none of": (
        lambda s: (
            s["evaluate"].update(tasks=["held_out", "probes"]),
            s["claims"][0].update(on="probes/oder/causal_layer_1"),
        ),
        "expected a probe in probes/oder/causal_layer_1, found oder: there are bigram_shift, word_content, length, ",
    ),
    "a layer that a probe does not read": (
        lambda s: (
            s["evaluate"].update(tasks=["held_out", "probes"]),
            s["claims"][0].update(on="probes/order/causal_layer_9"),
        ),
        "expected a reading of arm .* in probes/order/causal_layer_9, found causal_layer_9: there are causal_layer_1, ",
    ),
    "a number without a better side": (
        lambda s: s["claims"][0].update(on="held_out/causal/entropy"),
        "expected a claim on a number of which one direction is better, found held_out/causal/entropy",
    ),
    "a reading that scores no texts": (
        lambda s: (
            s["evaluate"].update(tasks=["held_out", "swaps"]),
            s["arms"]["causal"]["ratio"].update(order=1),
            s["claims"][0].update(on="swaps/order"),
        ),
        "expected a reading that scores texts in swaps/order, found order: it has numbers of held_out alone",
    ),
    "a metric of tokens where there are none": (
        lambda s: (
            s["arms"]["causal"]["ratio"].update(order=1),
            s["claims"][0].update(on="held_out/order/bits_per_byte"),
        ),
        "expected another metric in held_out/order/bits_per_byte, found bits_per_byte: order predicts no text",
    ),
    "an unknown objective in a study that is tuned": (
        lambda s: (
            s["arms"]["mixed"]["ratio"].update(ordr=1),
            s.update(tune={"grid": {"model.optimizer.init_args.lr": [0.01]}}),
        ),
        "arm mixed: expected objectives of the base in its ratio, found 'ordr': did you mean order",
    ),
    "no readings": (lambda s: s["evaluate"].update(readings=[]), "expected readings in evaluate of .*, found none: "),
    "an unknown task that a claim is on": (
        lambda s: s["evaluate"].update(tasks=["held_uot"]),
        "evaluate.tasks of .*: expected a task of held_out, swaps, .*found 'held_uot': did you mean held_out",
    ),
    "an unknown task": (
        lambda s: s["evaluate"].update(tasks=["held_out", "swap"]),
        "expected a task of held_out, swaps, .*found 'swap': did you mean swaps",
    ),
    "a task's file that is not there": (
        lambda s: s["evaluate"].update(tasks=["held_out", "blimp=none.jsonl"]),
        "expected a task's file at none.jsonl, found none",
    ),
    "a budget below a step": (
        lambda s: s.update(budget={"flops": 1000}),
        "expected a budget of at least one step for arm causal, in FLOPs, .*, found 1000: raise it",
    ),
    "FLOPs of a curriculum by losses": (
        lambda s: s["arms"].update(
            waits={
                "set": {
                    "model.balancer": "Curriculum",
                    "model.balancer.pace": {
                        "class_path": "ByDifficulty",
                        "init_args": {"order": ["causal", "masked", "order"]},
                    },
                }
            }
        ),
        "expected a balancer of arm waits that knows before the training .*, found Curriculum, .*a budget of tokens",
    ),
    "other splits": (
        lambda s: s["arms"]["mixed"].update(set={"data.split_seed": 5}),
        "expected one data.split_seed for all arms, found .*: set it in the base alone",
    ),
    "an arm that cannot be trained": (
        lambda s: s["arms"]["mixed"].update(set={"trainer.accumulate_grad_batches": 5}),
        "arm mixed cannot be trained: .*devices x accumulate_grad_batches to divide data.batch_multiple",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_line_before_anything_is_written(
    case: str, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change, line = REFUSED[case]
    study = study_of(place, tmp_path / "out")
    change(study)
    file = written(study, tmp_path)
    capfd.readouterr()
    assert run("compare", file) == 2
    *_, error = capfd.readouterr().err.splitlines()
    assert re.search(f"^lm-objectives: error: .*{line}", error), error
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("flags", [["--part", "9/8"], ["--part", "x"], ["--part", "0/2"], ["--jobs", "0"]])
def test_flags_that_are_none(flags: list[str], place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = written(study_of(place, tmp_path / "out"), tmp_path)
    assert run("compare", file, *flags) == 2
    assert flags[1] in complaint(capfd)


def test_a_study_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "none.yaml") == 2
    assert "expected a study's YAML file at none.yaml, found none" in complaint(capfd)


def test_a_folder_of_something_else(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine", encoding="utf-8")
    file = written(study_of(place, tmp_path / "out"), tmp_path)
    assert run("compare", file) == 2
    assert "expected a new folder, or that of this study, for output" in complaint(capfd)
    assert contents(tmp_path / "out") == {"thesis.txt": b"mine"}


def started(file: Path, *flags: object) -> "subprocess.Popen[bytes]":
    command = [*PROGRAM, "compare", str(file), *map(str, flags)]
    return subprocess.Popen(
        command, env=environment() | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, start_new_session=True
    )


def wait_for(there: Callable[[], Any], process: "subprocess.Popen[bytes]", seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not there() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert there()


@pytest.fixture(scope="module")
def whole(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was made two runs at a time, without a break."""
    folder = tmp_path_factory.mktemp("whole")
    process = started(written(study_of(place, folder / "out"), folder), "--jobs", 2)  # of one thread each
    assert process.wait(900) == 0
    return folder / "out"


@pytest.mark.slow
def test_a_whole_study(whole: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Oracle: the results of the runs themselves, and the budget."""
    assert len(results_of(whole)) == 6
    text, results = report_of(whole)
    for file in results_of(whole):
        made = json.loads((whole / file).read_text(encoding="utf-8"))["evaluation"]
        nats = next(r["value"] for r in made["results"] if (r["reading"], r["metric"]) == ("causal", "nats"))
        assert f"{nats:.3f}" in text
        budget = results["plan"]["arms"][0]["flops"]
        assert abs(made["model"]["flops"] - budget) <= made["model"]["flops"] / made["model"]["steps"] / 2
    before = contents(whole)
    assert run("compare", whole.parent / "study.yaml") == 0
    assert "6 of 6 runs are done" in capfd.readouterr().err
    assert run("compare", whole.parent / "study.yaml", "--report") == 0
    assert contents(whole) == before


@pytest.mark.slow
def test_killed_twice_it_goes_on_to_the_same_report(whole: Path, place: Path, tmp_path: Path) -> None:
    """Oracle: the report of the study that ran through, to the bit but for times and costs."""
    output = tmp_path / "out"
    file = written(study_of(place, output), tmp_path)
    process = started(file, "--jobs", 2)  # killed alone: its training goes on, and nobody makes that run again
    wait_for(lambda: [*output.rglob("metrics.csv")], process)
    process.kill()
    process.wait()
    process = started(file, "--jobs", 2)  # killed with all that it has started, in the middle of a run
    wait_for(lambda: len(results_of(output)) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(results_of(output)) < 6
    process = started(file, "--jobs", 2)
    assert process.wait(900) == 0
    assert not [*output.rglob("previous")]
    mine, theirs = report_of(output), report_of(whole)
    assert mine == theirs


@pytest.fixture(scope="module")
def parted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same study that two parts and a process for all have made at the same time."""
    folder = tmp_path_factory.mktemp("parted")
    file = written(study_of(place, folder / "out"), folder)
    processes = [started(file, "--part", "1/2"), started(file, "--part", "2/2"), started(file)]
    assert [process.wait(900) for process in processes] == [0, 0, 0]
    return folder / "out"


@pytest.mark.slow
def test_two_parts_and_two_processes_make_each_run_once(whole: Path, parted: Path) -> None:
    """Oracle: the report of the study that ran through; a run that begins again sets the first one aside."""
    assert not [*parted.rglob("previous")]
    assert report_of(parted)[1]["runs"] == report_of(whole)[1]["runs"]


@pytest.mark.slow
def test_ctrl_c_leaves_checkpoints_and_the_same_command_goes_on(place: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    study = study_of(place, output) | {"seeds": 1}
    study["budget"] = {"steps_of": "causal", "steps": 400}
    process = started(written(study, tmp_path))
    wait_for(lambda: [*output.rglob("metrics.csv")], process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert len([*output.rglob("last.ckpt")]) == 1 and not results_of(output) and not [*output.rglob("failed.json")]


@pytest.mark.slow
def test_an_edited_study(parted: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Seeds may be added, and decide nothing; what done runs were may not change; another study has no place there."""
    study = study_of(place, parted)
    done = contents(parted / "runs")
    study["seeds"] = 4
    assert run("compare", written(study, parted.parent)) == 0
    assert len(results_of(parted)) == 8
    assert contents(parted / "runs").items() >= done.items()
    text, results = report_of(parted)
    assert "seed 3 came on top of the plan" in text and results["plan"]["seeds"] == [0, 1, 2]
    capfd.readouterr()
    changed = study | {"arms": study["arms"] | {"mixed": {"ratio": {"causal": 1, "order": 1}}}}
    assert run("compare", written(changed, parted.parent)) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "expected the study to ask for what its runs were, found" in error and "runs/mixed/0" in error
    other = study | {"arms": {"order": {"ratio": {"order": 1}}}, "claims": []}
    other["budget"] = {"steps_of": "order", "steps": 6}
    assert run("compare", written(other, parted.parent)) == 2
    assert "give it an output of its own" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_each_arm_is_tuned_over_a_grid_of_its_own(place: Path, tmp_path: Path) -> None:
    """Oracle: the losses of the tuning runs themselves; a rate of 0 learns nothing."""
    output = tmp_path / "out"
    study = study_of(place, output) | {"seeds": 1}
    rate = "model.optimizer.lr"
    study["tune"] = {
        "arms": {"causal": [{rate: 1.0e-9}, {rate: 0.01}], "mixed": [{rate: 0.02}, {rate: 1.0e-9}]},
        "by": "held_out/causal/nats",
    }
    assert run("compare", written(study, tmp_path)) == 0
    tuned = {file.parts[-3]: file for file in output.glob("tuning/*/*/1000000/evaluation.json")}
    assert len(results_of(output / "tuning")) == 4 and {*tuned} == {"0", "1"}
    plan = json.loads((output / "plan.json").read_text(encoding="utf-8"))
    assert plan["record"]["chosen"] == {"causal": {rate: 0.01}, "mixed": {rate: 0.02}}
    for arm, lr in (("causal", 0.01), ("mixed", 0.02)):
        settings = yaml.safe_load((output / "runs" / arm / "0" / "config.yaml").read_text(encoding="utf-8"))
        assert settings["model"]["optimizer"]["init_args"]["lr"] == lr
        assert settings["evaluation"]["documents"] == "report"
    of_tuning = yaml.safe_load(next(output.glob("tuning/causal/1/*/config.yaml")).read_text(encoding="utf-8"))
    assert of_tuning["evaluation"]["documents"] == "tune" and of_tuning["data"]["seed"] == 1_000_000
