"""`lm-objectives evaluate` on the command line, and `evaluation:` at the end of a fit."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from utils.command_line import PROGRAM, complaint, environment, fit, run, table

from lm_objectives import evaluate

PAIRS = [
    {"sentence_good": "The dog ran home.", "sentence_bad": "The dog ran homes.", "UID": "a", "linguistics_term": "x"},
    {"sentence_good": "A cat sat.", "sentence_bad": "A cat sit.", "UID": "b", "linguistics_term": "x"},
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, PAIRS)), encoding="utf-8")
    return path


def test_it_writes_results_and_picture_and_scores_nothing_twice(
    trained: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "evaluation.json"
    command = ["evaluate", "--ckpt_path", trained / "checkpoints" / "last.ckpt", "--output", output]
    assert run(*command, "--tasks", "held_out", f"own={pairs}", "--readings", "causal", "order", "--items", 4) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["task", "read", "as", "metric", "value", "chance", "items", "remarks"]
    assert f"wrote {output} and {output.with_suffix('.png')}" in printed
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["schema"] == 1 and found["settings"]["items"] == 4
    assert found["model"]["steps"] == 3 and found["model"]["objectives"]["causal"] == "CausalLM"
    results = {(r["task"], r["reading"], r["metric"]): r for r in found["results"]}
    assert ("held_out", "order", "accuracy") in results and ("held_out", "masked", "nats") not in results
    own = results["own", "causal", "accuracy"]
    assert own["groups"].keys() == {"a", "b"} and own["phenomena"].keys() == {"x"} and own["group_key"] == "UID"
    with np.load(output.parent / own["items"], allow_pickle=False) as items:
        assert items["sums"].shape == (4,) and items["labels"].tolist() == [0, 0]
    with Image.open(output.with_suffix(".png")) as picture:
        assert picture.size[0] > 400
    kept = output.parent / own["items"]
    before = kept.stat().st_mtime_ns
    evaluated = evaluate(
        str(trained / "checkpoints" / "last.ckpt"), tasks=[f"own={pairs}"], output=str(output), items=4
    )
    assert kept.stat().st_mtime_ns == before
    again = next(r for r in evaluated.results if (r.reading, r.metric) == ("causal", "accuracy"))
    assert again.value == own["value"]


BAD: dict[str, tuple[list[str], str]] = {
    "neither": ([], "expected either ckpt_path or folder, found neither"),
    "both": (["--ckpt_path", "{last}", "--folder", "."], "expected either ckpt_path or folder, found both"),
    "task": (["--ckpt_path", "{last}", "--tasks", "helt_out"], "found 'helt_out': did you mean held_out?"),
    "no task": (["--ckpt_path", "{last}", "--tasks", "[]"], "expected tasks: held_out, swaps, probes"),
    "file": (["--ckpt_path", "{last}", "--tasks", "own=none.jsonl"], "a task's file at none.jsonl, found none"),
    "name": (["--ckpt_path", "{last}", "--tasks", "swaps={pairs}"], "a name of its own for a task from a file"),
    "twice": (["--ckpt_path", "{last}", "--tasks", "swaps", "swaps"], "each task once, found swaps twice"),
    "reading": (
        ["--ckpt_path", "{last}", "--tasks", "own={pairs}", "--readings", "maskd"],
        "readings that this model has, causal, masked, masked_word, order, found 'maskd': did you mean masked?",
    ),
    "reading of another": (
        ["--ckpt_path", "{last}", "--tasks", "own={pairs}", "--readings", "spans"],
        "found 'spans': another objective has it, or none",
    ),
    "nothing to do": (
        ["--ckpt_path", "{last}", "--tasks", "own={pairs}", "--readings", "order"],
        "own: no text is scored by order",
    ),
    "items": (["--ckpt_path", "{last}", "--items", "-1"], "expected items of at least 0, found -1"),
    "batch": (["--ckpt_path", "{last}", "--batch_tokens", "0"], "expected batch_tokens of at least 1, found 0"),
    "device": (["--ckpt_path", "{last}", "--device", "tpu9"], "expected a device that is here, found 'tpu9'"),
    "checkpoint": (["--ckpt_path", "none.ckpt"], "expected a checkpoint at none.ckpt, found no such file"),
    "a run's folder": (["--ckpt_path", "{run}"], "expected a checkpoint's file at"),
    "folder": (["--folder", "{folder}", "--tasks", "own={pairs}"], "a folder with a config.json at"),
    "folder without tasks": (["--folder", "{folder}"], "tasks for a folder, which has no held-out documents"),
    "output of another kind": (["--ckpt_path", "{last}", "--output", "{folder}/a.png"], "a .json file for output"),
    "listed with =": (["--ckpt_path", "{last}", "--tasks=swap"], "found 'swap': did you mean swaps?"),
    "output": (["--ckpt_path", "{last}", "--output", "{last}/a.json"], "a file to write results to at"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, trained: Path, pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD[case]
    places = {"last": trained / "checkpoints" / "last.ckpt", "run": trained, "pairs": pairs, "folder": tmp_path}
    before = {*trained.iterdir()}
    assert run("evaluate", *(argument.format(**places) for argument in arguments)) == 2
    assert message in complaint(capfd)
    assert {*trained.iterdir()} == before and not [*tmp_path.iterdir()]


def test_a_fit_is_evaluated_where_it_ends(place: Path, pairs: Path, tmp_path: Path) -> None:
    tasks = f"[held_out, own={pairs}]"
    assert fit(place, tmp_path / "run", "--evaluation.tasks", tasks, "--evaluation.readings", "[masked]") == 0
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    numbers = {f"evaluate/{r['task']}/{r['reading']}/{r['metric']}": r["value"] for r in written["results"]}
    [row] = [row for row in table(tmp_path / "run") if row.get("evaluate/own/masked/accuracy")]
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers) and row["step"] == "2"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    alone = evaluate(str(last), tasks=["held_out"], readings=["masked"], output=str(tmp_path / "alone.json"))
    assert alone.numbers() == pytest.approx({n: v for n, v in numbers.items() if "held_out" in n}, abs=1e-6)


def test_what_a_fit_cannot_be_evaluated_on_is_refused_before_it(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fit(place, tmp_path / "run", "--evaluation.tasks", "[swap]") == 2
    assert "found 'swap': did you mean swaps?" in complaint(capfd)
    assert fit(place, tmp_path / "run", "--evaluation.tasks", "[swaps]", "--evaluation.readings", "[spans]") == 2
    assert "readings that this model has" in complaint(capfd)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_are_evaluated_by_the_first_alone(place: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "fit", "--config", str(place / "tiny.yaml"), "--trainer.devices", "2"]
    command += ["--evaluation.tasks", "[held_out]", "--evaluation.items", "4"]
    command += ["--trainer.default_root_dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert {result["reading"] for result in written["results"]} == {"causal", "masked", "order"}
    assert written["model"]["flops"] > 0 and written["model"]["ckpt"].endswith("last.ckpt")
