"""Reading checkpoints: nothing in them is executed, and another model's are told apart."""

import pickle
from pathlib import Path

import pytest
import torch

from lm_objectives.checkpoint import check_same, open_run, read_checkpoint


class Trap:
    """What a pickle runs when it is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def test_a_pickle_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"lm_objectives": Trap()}))
    with pytest.raises(ValueError, match="found a file of another kind"):
        read_checkpoint("bad.ckpt")
    torch.save({"lm_objectives": Trap()}, tmp_path / "worse.ckpt")
    with pytest.raises(ValueError, match="found a file of another kind"):
        open_run("worse.ckpt")
    assert not (tmp_path / "trapped").exists()


def test_the_first_difference_is_named() -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(3, 4)}
    check_same(own, {name: tensor.clone() for name, tensor in own.items()})
    with pytest.raises(ValueError, match=r"b is \(3, 4\) in the model and \(3, 5\) in the checkpoint"):
        check_same(own, own | {"b": torch.zeros(3, 5)})
    with pytest.raises(ValueError, match=r"c is nothing in the model and \(1,\) in the checkpoint"):
        check_same(own, own | {"c": torch.zeros(1)})
