"""Every command in README and docs, and every piece of code in README, works, made small."""

import functools
import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
import yaml
from utils.small_corpus import BACKBONE

from lm_objectives.__main__ import main
from lm_objectives.comparison.planning import plan, tuning
from lm_objectives.strict_yaml import load_yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES[1:])
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README + DOCS, re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.strip().splitlines()]
PYTHON = [text for kind, text in re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL) if kind == "python"]
MADE_SMALL = [
    *("--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "1"),
    *("--trainer.log_every_n_steps", "1", "--data.seq_len", "32"),
]
SHALLOW = ["--model.backbone.config.num_hidden_layers", "1"]
SMALL_BASE = {
    "trainer": {"accelerator": "cpu", "limit_val_batches": 1, "log_every_n_steps": 1},
    "tracking": {"wandb": "off"},
    "data": {
        "tokenizer": 2048,
        "seq_len": 32,
        "global_batch_size": 16,
        "batch_multiple": None,
        "validation_rows": 8,
    },
    "model": {  # a block of sizes takes the place of the base's
        "backbone": {"config": BACKBONE | {"num_hidden_layers": 1}}
    },
}


SITES: dict[str, str] = {}  # addresses in documents, and where a server of these tests gives them


def write_forms(folder: Path, text: str) -> None:
    """Text in the forms that users have: tables, a dump without suffixes, and files of many documents."""
    texts = [f"Text {number}. {text}" * 20 for number in range(24)]
    rows = [{"id": number, "review": own, "meta": {"text": own}} for number, own in enumerate(texts)]
    (folder / "my_tables").mkdir()
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(folder / "my_tables" / "reviews.parquet")
    table.remove_columns("meta").to_csv(folder / "my_tables" / "reviews.csv", index=False)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "my_tables" / "crawl.jsonl.zst").write_bytes(pyarrow.compress(lines, codec="zstd", asbytes=True))
    (folder / "my_dump" / "AA").mkdir(parents=True)
    (folder / "my_dump" / "AA" / "wiki_00").write_text("\n".join(f"<doc>\n{own}\n</doc>" for own in texts))
    (folder / "my_stories.txt").write_text("\n<|endoftext|>\n".join(texts))
    pairs = [{"sentence_good": "It rained.", "sentence_bad": "It rain."}] * 3
    (folder / "my_pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    labels = [
        {"text": f"{t} number {n}.", "label": t, "split": s}
        for n, t in enumerate(["It rained", "We sang"] * 12)
        for s in ("train", "test")
    ]
    (folder / "my_labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    talks = [f"it rained on day {day}\nnobody minded\nthen we went home by road {day}" for day in range(400)]
    (folder / "my_talks.txt").write_text("\n\n".join(talks))


def write_studies(folder: Path) -> None:
    """The studies of the documents, and one arm of each shipped one; one seed of two steps on a small model."""
    blocks = [re.match(r"# (\w+\.yaml)\n", text) for kind, text in BLOCKS if kind == "yaml"]
    texts = {found[1]: found.string for found in blocks if found and "\narms:" in found.string}
    shipped = {path.name: path.read_text("utf-8") for path in (ROOT / "configs" / "studies").glob("*.yaml")}
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL_BASE), encoding="utf-8")
    for name, text in (texts | shipped).items():
        study = load_yaml(text.encode(), name)
        base = study["base"] if isinstance(study["base"], list) else [study["base"]]
        budget = {"steps_of": next(iter(study["arms"])), "steps": 2}
        study |= {"base": [*base, "small.yaml"], "seeds": 1, "budget": budget}
        study["evaluate"]["items"] = 2
        if name in shipped:
            study = of_one_arm(study)
        (folder / (f"small_{name}" if name in shipped else name)).write_text(
            yaml.safe_dump(study, sort_keys=False), encoding="utf-8"
        )


def of_one_arm(study: dict[str, Any]) -> dict[str, Any]:
    """The arm of a study that changes most, with one run of its tuning."""
    arm = max(study["arms"], key=lambda name: len(json.dumps(study["arms"][name])))
    study = study | {"arms": {arm: study["arms"][arm]}, "budget": study["budget"] | {"steps_of": arm}}
    study.pop("claims")
    study["evaluate"].pop("readings", None)  # of which some are other arms'
    if "tune" in study:
        study["tune"] = {"arms": {arm: study["tune"]["arms"][arm][:1]}}
    return study


def on_the_hub(name: str, config: str | None, split: str | None) -> datasets.Dataset | datasets.DatasetDict:
    """In place of `datasets.load_dataset`."""
    assert (name, config) == ("Salesforce/wikitext", "wikitext-2-raw-v1")
    rows = {part: [f"The {part} of {number}. It rained. We went home." * 20 for number in range(24)] for part in SPLITS}
    data = datasets.DatasetDict({part: datasets.Dataset.from_dict({"text": texts}) for part, texts in rows.items()})
    return data[split] if split else data


SPLITS = ("test", "train", "validation")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a user's: configs, a quickstart run, texts, and the classes that README shows."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "my_texts").mkdir()
    for number in range(12):
        text = "It rained all day. Nobody minded. The road was closed.\n\nThen the sun came out. We went home."
        (folder / "my_texts" / f"{number}.txt").write_text(f"Text {number}. {text}" * 40, encoding="utf-8")
    write_forms(folder, text)
    write_studies(folder)
    for block in [text for kind, text in BLOCKS if kind == "python"]:
        if found := re.match(r"# (\w+\.py)\n", block):
            (folder / found[1]).write_text(block, encoding="utf-8")
    before, here = dict(os.environ), Path.cwd()
    os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "WANDB_MODE": "offline"}
    os.chdir(folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    SITES["https://texts.example"] = f"http://127.0.0.1:{site.server_port}"
    assert main(["fit", "--config", "configs/quickstart.yaml", *MADE_SMALL, *SHALLOW]) == 0
    yield folder
    site.shutdown()
    site.server_close()
    os.chdir(here)
    os.environ.clear()
    os.environ |= before
    if str(folder) in sys.path:
        sys.path.remove(str(folder))


def test_its_commands_are_ours() -> None:
    """Nothing in a shell block escapes these tests; `make quickstart` and `make test` are run by .ci/run itself."""
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        assert command.startswith("lm-objectives ") or command in ("make quickstart", "make test"), command
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make quickstart" in ci and "make test" in ci


def prepared(command: str) -> list[str]:
    """Arguments of a command, made small; a folder has its own depth."""
    for address, server in SITES.items():
        command = command.replace(address, server)
    arguments = shlex.split(command)[1:]
    if arguments[0] == "compare" and not arguments[1].endswith(".yaml"):
        return ["compare", f"small_{arguments[1]}.yaml", *arguments[2:]]
    if arguments[0] != "fit" or "--print_config" in arguments or any(name.endswith(".help") for name in arguments):
        return arguments
    if "--model.backbone.pretrained" in arguments:  # its tokenizer reads the corpus anew
        return [*arguments, *MADE_SMALL, "--data.corpus", "my_texts"]
    return [*arguments, *MADE_SMALL, *SHALLOW]


def of_one_process(command: str) -> Any:
    """The command as a parameter; those of a study train in processes of their own."""
    trains = command.startswith("lm-objectives compare")
    return pytest.param(command, marks=[pytest.mark.slow] * trains)


@pytest.mark.parametrize(
    "command", [of_one_process(c) for c in COMMANDS if c.startswith("lm-") and "devices 2" not in c]
)
def test_command(
    command: str, workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", on_the_hub)
    if "compare first" not in command:  # timed in processes of their own, once is enough
        for module in (plan, tuning):
            monkeypatch.setattr(module, "time_steps", lambda runs, *_: dict.fromkeys(runs, 1.0))
    try:
        code = main(prepared(command))
    except SystemExit as end:  # --print_config
        code = end.code
    assert code in (0, None), capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if "devices 2" in c])
def test_command_with_two_processes(command: str, workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lm_objectives", *prepared(command)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_python_example(workspace: Path) -> None:
    """The example without the command line, made small; it is about 15 lines."""
    [example] = [block for block in PYTHON if "L.Trainer" in block]
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    assert example.count("max_steps=20") == 1
    names: dict[str, object] = {}
    exec(compile(example.replace("max_steps=20", "max_steps=2, limit_val_batches=1"), "README.md", "exec"), names)
    assert names["trainer"].callback_metrics["val/causal/loss"] > 0  # type: ignore[attr-defined]


def test_extensions_are_as_short_as_promised() -> None:
    """One import of this package each; an objective has 20 lines at most, a balancer 10."""
    for name, most in (("ShuffledToken", 20), ("InverseLoss", 10)):
        [block] = [block for block in PYTHON if f"class {name}" in block]
        code = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
        assert len(code) <= most
        assert sum("lm_objectives" in line for line in code) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
