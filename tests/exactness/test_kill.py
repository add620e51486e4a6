"""A run of the command line that is killed again and again ends in the bits of the run that was left alone."""

from pathlib import Path
from typing import Any

import pytest
from utils.exactness_kills import Kills, Training, differing_bits, settings
from utils.small_corpus import write_corpus

_STAGES = {"points": {"order": [[0, 0.0], [6, 0.0], [12, 1.0]], "masked": [[0, 1.0], [15, 0.0]]}}
_BY_DIFFICULTY = {
    "order": ["masked", "causal", "order"],
    "target_loss": {"masked": 99.0},
    "window": 2,
    "smoothing": 0.5,
}


def curriculum(pace: str, arguments: dict[str, Any], inner: str) -> dict[str, Any]:
    return {
        "class_path": "Curriculum",
        "init_args": {"pace": {"class_path": pace, "init_args": arguments}, "inner": {"class_path": inner}},
    }


# Each remembers something of another kind; test_resume.py has those that are left out.
BALANCERS: dict[str, dict[str, Any]] = {
    **{name: {"class_path": name} for name in ("Fixed", "GradNorm", "FAMO")},
    "UPGrad": {"class_path": "TorchJD", "init_args": {"weighting": "UPGrad"}},
    "Stages": curriculum("Stages", _STAGES, "GradNorm"),
    "ByDifficulty": curriculum("ByDifficulty", _BY_DIFFICULTY, "Uncertainty"),
}
EACH = ("FAMO", "Stages")  # the others are killed in other tests, or resumed in test_resume.py
WAYS: dict[str, tuple[str, dict[str, Any], int]] = {  # balancer, data, ranks
    "one document a row": ("ByDifficulty", {"packing": False}, 1),
    "workers": ("ByDifficulty", {"num_workers": 2}, 1),
    "two ranks": ("ByDifficulty", {}, 2),
    "two ranks and gradients": ("UPGrad", {"num_workers": 1}, 2),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kills")
    write_corpus(place / "corpus.jsonl")
    return place


def compare(place: Path, name: str, config: dict[str, Any], kills: Kills, ranks: int = 1) -> None:
    """Train twice, and look for a difference in the checkpoints, the table and the folder."""
    whole = Training(place / f"{name} whole", config, ranks).run()
    killed = Training(place / f"{name} killed", config, ranks).run(kills)
    assert killed.kills == kills.count
    for checkpoint in ("last.ckpt", "best.ckpt"):
        assert differing_bits(killed.state(checkpoint), whole.state(checkpoint)) == {}
    assert killed.table() == whole.table()
    assert killed.files() == whole.files()
    print(f"{name}: {killed.kills} kills, {killed.in_writing} of them while a file was written, 0 bits differ")


def test_three_kills(place: Path) -> None:
    compare(place, "GradNorm", settings(place, BALANCERS["GradNorm"]), Kills(3, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [*enumerate(EACH)])
def test_each_kind_of_state(number: int, name: str, place: Path) -> None:
    compare(place, f"each {name}", settings(place, BALANCERS[name]), Kills(3, seed=100 + number))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [*enumerate(WAYS)])
def test_every_way(number: int, name: str, place: Path) -> None:
    balancer, data, ranks = WAYS[name]
    compare(place, name, settings(place, BALANCERS[balancer], **data), Kills(4, seed=200 + number), ranks)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_is_over_and_goes_on_validates_and_stays_as_it_was(ranks: int, place: Path) -> None:
    """Its last checkpoint was saved before the last validation, as after a kill in between. Oracle: itself before."""
    run, names = (
        Training(place / f"over {ranks}", settings(place, BALANCERS["Fixed"]), ranks),
        ("last.ckpt", "best.ckpt"),
    )
    table, before = run.run().table(), [run.state(name) for name in names]
    assert table[-1]["val/masked/loss"] and not table[-1]["train/loss"]
    assert run.run().table() == table
    assert [differing_bits(run.state(name), state) for name, state in zip(names, before, strict=True)] == [{}, {}]
