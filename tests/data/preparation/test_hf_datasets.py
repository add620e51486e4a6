"""Data sets on disk and of the hub: which split is read, what is told, and that the library's settings stay."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from utils.reading_cases import TEXTS, documents_of, read, write

from lm_objectives.errors import InputError


def test_settings_of_datasets_stay(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = datasets.logging.get_verbosity()
    path = str(write(tmp_path, "disk"))
    capfd.readouterr()
    read(path)
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("o/n", ("o/n", None, None)),
        ("o/n:c-1.v2", ("o/n", "c-1.v2", None)),
        ("n:c", ("n", "c", None)),
        ("o/n:c:dev", ("o/n", "c", "dev")),
        ("o/n::train[:10%]", ("o/n", None, "train[:10%]")),
    ],
)
def test_configurations_and_splits_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, oracle: tuple[str | None, ...]
) -> None:
    """Oracle: the arguments of `datasets.load_dataset`, which here gives what it would."""
    asked = []

    def load(*names: str | None, split: str | None) -> datasets.Dataset | datasets.DatasetDict:
        asked.append((*names, split))
        table = datasets.Dataset.from_dict({"text": TEXTS})
        return table if split else datasets.DatasetDict({"validation": table.select([0]), "train": table})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load)
    documents = documents_of(name)
    assert [piece.text for piece in documents] == TEXTS
    assert asked == [oracle]
    mend = "name one as owner/name:config:split, or by its folder"
    told = [] if oracle[2] else [f"not read in {name}: splits, 1 (validation): {mend}"]
    assert [*documents.notices()] == told


def test_a_data_set_without_training_split_is_one_line(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": TEXTS})
    datasets.DatasetDict({"test": table, "dev": table}).save_to_disk(tmp_path / "d")
    with pytest.raises(
        InputError, match=r"^expected a data set with a train split, found test, dev in .*d: name the f"
    ):
        read(str(tmp_path / "d"))
    assert read(str(tmp_path / "d" / "dev")) == TEXTS


def test_hub_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, config: str | None, split: str | None) -> None:
        raise ConnectionError(f"no route\nto {name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = r"^expected a path or a data set on the hub, found neither under o/n: .*\(no route to o/n\)$"
    with pytest.raises(ValueError, match=message):
        read("o/n")


def test_text_that_is_no_utf_8_is_one_line(tmp_path: Path) -> None:
    """Arrow takes any bytes for text until they are read."""
    table = datasets.Dataset.from_dict({"text": ["good", "a marker of bytes"]})
    table.save_to_disk(tmp_path / "d")
    [file] = (tmp_path / "d").glob("*.arrow")
    file.write_bytes(file.read_bytes().replace(b"marker", b"mark\xff\xfe"))
    with pytest.raises(InputError, match=r"^expected text in UTF-8, found something else in .*d \(UnicodeDecodeError"):
        read(str(tmp_path / "d"))


def test_a_data_set_that_breaks_off_is_not_the_caches_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "d")

    def broken(*_: object, **__: object) -> Iterator[None]:
        yield from ()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(datasets.Dataset, "iter", broken)
    message = r"^expected a data set that can be read to its end, found .*d \(OSError: .*Input/output error\): write it"
    with pytest.raises(InputError, match=message):
        read(str(tmp_path / "d"))
