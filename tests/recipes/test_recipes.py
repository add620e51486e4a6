"""Every recipe stands alone, reads well, and goes the whole way when it is made small."""

import csv
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer
from utils.recipe_cases import CONFIGS, PUBLISHED, RECIPES, settings
from utils.recipe_exports import READS, both_losses, clean_pairs, documents, write_documents

from lm_objectives.__main__ import main
from lm_objectives.training.run import load_run

NAMES = {
    *("gpt", "llama", "bert", "roberta", "albert", "electra", "bart", "t5", "gpt_bert", "ul2", "ul2_t5", "llama_mix")
}
EXPORTED = {  # what transformers has a class for
    "albert": {"masked", "order"},
    "bart": {"text"},
    "bert": {"masked", "next_sentence"},
    "electra": {"replaced"},
    "gpt": {"causal"},
    "gpt_bert": {"causal"},
    "llama": {"causal"},
    "llama_mix": {"causal"},
    "roberta": {"masked"},
    "t5": {"spans"},
    "ul2_t5": {"r3", "r8", "s", "x3", "x8", "x64", "x64_rare"},
}
each = pytest.mark.parametrize("name", RECIPES)
each_exported = pytest.mark.parametrize("name", EXPORTED)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and one for tokens."""
    place = tmp_path_factory.mktemp("recipes")
    write_documents(place / "corpus.jsonl")
    return place


@pytest.fixture(scope="module")
def trained(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a recipe's run and, below it in hf, what was exported of it; made once."""

    @cache
    def make(name: str) -> Path:
        root = tmp_path_factory.mktemp(name)
        assert fit(place, root, name) == 0
        code = main(["export", "--ckpt_path", checkpoint_of(root), "--output", str(root / "hf")])
        assert code == (0 if name in EXPORTED else 2)
        return root

    return make


def checkpoint_of(root: Path) -> str:
    return str(root / "checkpoints" / "last.ckpt")


def fit(place: Path, root: Path, name: str, *arguments: object) -> int:
    """Three steps of a recipe on rows of 32 tokens."""
    small = ["--data.corpus", place / "corpus.jsonl", "--data.cache", place / "cache", "--data.tokenizer", 400]
    small += [
        "--data.seq_len",
        32,
        "--data.validation_share",
        0.3,
        "--data.validation_rows",
        8,
        "--tracking.wandb",
        "off",
        "--trainer.accelerator",
        "cpu",
    ]
    small += ["--trainer.max_steps", 3, "--trainer.val_check_interval", 3, "--trainer.log_every_n_steps", 1]
    run = ["fit", "--config", RECIPES[name], *small, "--trainer.default_root_dir", root, *arguments]
    return main([str(argument) for argument in run])


def table(root: Path) -> list[dict[str, str]]:
    with (root / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_system_is_here() -> None:
    assert set(RECIPES) == NAMES


@pytest.mark.parametrize(
    "path", [*RECIPES.values(), *PUBLISHED.values()], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_is_short_and_says_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= 120
    assert lines[0].startswith("# ") and ("et al." in "".join(lines[:2]) or path.stem in ("gpt_bert", "llama_mix"))


@each
def test_has_a_folder_of_its_own_and_trains_to_the_end_of_its_schedule(name: str) -> None:
    read = settings(RECIPES[name])
    assert read["trainer"]["default_root_dir"] == f"runs/{name}"
    assert (
        read["trainer"]["max_steps"] <= 1200
        and read["trainer"]["max_steps"] % read["trainer"]["val_check_interval"] == 0
    )
    assert read["data"]["global_batch_size"] * read["data"]["seq_len"] <= 4096
    assert read["data"]["corpus"] is None


@each
def test_trains_validates_shows_and_exports(
    name: str, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = trained(name)
    objectives = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))["model"]["objectives"]
    rows = table(root)
    for objective in objectives:
        losses = [float(row[f"train/{objective}/loss"]) for row in rows if row[f"train/{objective}/loss"]]
        assert len(losses) == 3 and all(map(math.isfinite, losses))
        assert [row["step"] for row in rows if row[f"val/{objective}/loss"]] == ["2"]
    assert {row["train/skipped"] for row in rows if row["train/skipped"]} == {"0.0"}
    assert {path.name for path in root.glob("hf/*")} == EXPORTED.get(name, set())
    checkpoint = checkpoint_of(root)
    capsys.readouterr()

    assert main(["validate", "--config", str(root / "config.yaml"), "--ckpt_path", checkpoint]) == 0
    told = capsys.readouterr().out
    assert all(f"\n{objective}" in told for objective in objectives)

    assert main(["demo", "--ckpt_path", checkpoint, "--tokens", "4"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n{objective} (" in told for objective in objectives)


@each_exported
def test_an_exported_tokenizer_makes_of_each_document_what_the_run_made_of_it(
    name: str, place: Path, trained: Callable[[str], Path]
) -> None:
    """Oracle: the tokens that the run holds, in the frame that the objective's page says."""
    root = trained(name)
    run = load_run(checkpoint_of(root))
    texts = [json.loads(line)["text"] for line in (place / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    training, held_out = documents(run)
    assert len(held_out) >= 200 and len(training) + len(held_out) == len(texts)
    for objective in EXPORTED[name]:
        tokenizer = AutoTokenizer.from_pretrained(root / "hf" / objective)
        mode = getattr(run.module.sources[objective].corruption, "mode", None)
        front = [] if mode is None else [tokenizer.convert_tokens_to_ids(mode)]
        right = sorted(READS[objective](ids, front) for ids in [*training, *held_out])
        assert sorted(tokenizer(texts)["input_ids"]) == right
        if objective == "causal":
            whole = AutoTokenizer.from_pretrained(root / "hf" / objective, add_bos_token=True, add_eos_token=True)
            assert sorted(whole(texts)["input_ids"]) == sorted([*training, *held_out])


@each_exported
def test_an_exported_class_has_the_objectives_own_loss(name: str, trained: Callable[[str], Path]) -> None:
    """Oracle: the loss that transformers computes from `labels` on the same held-out rows, one document in each."""
    root = trained(name)
    run = load_run(checkpoint_of(root))
    for config in root.glob("hf/**/config.json"):
        objective = config.relative_to(root / "hf").parts[0]
        ours, theirs = both_losses(run, objective, config.parent)
        assert float(theirs) == pytest.approx(float(ours), abs=1e-4), config.parent


@pytest.mark.parametrize(("name", "objective"), [("bert", "next_sentence"), ("albert", "order")])
def test_an_exported_tokenizer_makes_of_two_texts_the_rows_of_pairs(
    name: str, objective: str, trained: Callable[[str], Path]
) -> None:
    """Oracle: rows before they are masked, with their segments."""
    root = trained(name)
    view = clean_pairs(load_run(checkpoint_of(root)), objective)
    tokenizer = AutoTokenizer.from_pretrained(root / "hf" / objective)
    assert view.token_type_ids is not None
    for ids, segments, length in zip(view.input_ids, view.token_type_ids, view.lengths, strict=True):
        row, second = ids[:length].tolist(), segments[:length].tolist()
        cut = second.index(1)
        encoded = tokenizer(*(tokenizer.decode(part[:-1]).removeprefix(" ") for part in (row[1:cut], row[cut:])))
        assert (encoded["input_ids"], encoded["token_type_ids"]) == (row, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["albert", "bart", "electra", "gpt", "llama_mix", "t5", "ul2"])
def test_trains_in_bf16(name: str, place: Path, tmp_path: Path) -> None:
    """Weights stay in single precision; the first losses are its own within a few roundings of 2^-8.

    Those left out have the backbones and objectives of these; test_bf16.py has each family and objective.
    """
    first = {}
    for precision in ("32-true", "bf16-mixed"):
        root = tmp_path / precision
        assert fit(place, root, name, "--trainer.precision", precision) == 0
        losses = table(root)[0]
        first[precision] = [float(losses[key]) for key in losses if key.startswith("train/") and key.endswith("/loss")]
        state = torch.load(root / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    assert first["bf16-mixed"] == pytest.approx(first["32-true"], rel=4 * 2**-8)


@pytest.mark.parametrize("balancer", ["competence", "curriculum", "torchjd_upgrad"])
def test_the_mix_takes_balancers(balancer: str, place: Path, tmp_path: Path) -> None:
    """Those that name objectives, and one by all gradients; test_configs.py has each over the quickstart."""
    overlay = CONFIGS / "balancers" / f"{balancer}.yaml"
    if balancer == "torchjd_upgrad":
        pytest.importorskip("torchjd")
    order = ["--model.balancer.init_args.pace.init_args.order", "[causal, order, replaced]"]  # it names all
    own = order if balancer == "competence" else []
    assert fit(place, tmp_path / "run", "llama_mix", "--config", overlay, *own) == 0
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))["model"]["balancer"]
    given = yaml.safe_load(overlay.read_text(encoding="utf-8"))["model"]["balancer"]
    assert saved["class_path"].endswith("." + (given if isinstance(given, str) else given["class_path"]))
