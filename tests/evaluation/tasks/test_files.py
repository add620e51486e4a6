"""Tasks from files: three forms, by their fields; what is no item is told with file and line."""

import gzip
import json
from pathlib import Path

import pytest

from lm_objectives import InputError
from lm_objectives.evaluation.tasks.choices import Choice, ChoiceTask
from lm_objectives.evaluation.tasks.files import read_task
from lm_objectives.evaluation.tasks.labelled import LabelledTask, LabelledText

PAIR = {"sentence_good": "It rains.", "sentence_bad": "It rain.", "UID": "agreement", "linguistics_term": "verbs"}
OPTIONS = {"context": "It rained, so we", "options": ["got wet.", "sang."], "label": 0}
LABELLED = {"text": "It rained.", "text_b": "We got wet.", "label": 1, "split": "train"}


def write(path: Path, *rows: object) -> Path:
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def test_minimal_pairs_as_blimp_and_zorro_have_them(tmp_path: Path) -> None:
    task = read_task("blimp", str(write(tmp_path / "pairs.jsonl.gz", PAIR, "", PAIR)))
    assert isinstance(task, ChoiceTask) and task.group_key == "UID"
    where = f"{tmp_path / 'pairs.jsonl.gz'} line"
    assert task.choices[0] == Choice("", ("It rains.", "It rain."), 0, "agreement", "verbs")
    assert [choice.where for choice in task.choices] == [f"{where} 1", f"{where} 3"]


def test_options_follow_their_context_after_a_space(tmp_path: Path) -> None:
    other = {"input_prefix": "Why? ", "options": ["a", " b", "c"], "label": 2}
    task = read_task("comps", str(write(tmp_path / "o.jsonl", OPTIONS, other, {**OPTIONS, "context": ""})))
    assert isinstance(task, ChoiceTask)
    assert [choice.options for choice in task.choices] == [
        (" got wet.", " sang."),
        ("a", " b", "c"),
        ("got wet.", "sang."),
    ]
    assert [choice.label for choice in task.choices] == [0, 2, 0]


def test_labelled_texts(tmp_path: Path) -> None:
    rows = (LABELLED, {**LABELLED, "label": 0}, {**LABELLED, "split": "test"})
    task = read_task("rte", str(write(tmp_path / "l.jsonl", *rows)))
    kinds = [("1", "train"), ("0", "train"), ("1", "test")]
    assert isinstance(task, LabelledTask)
    assert task.texts == [LabelledText("It rained.", "We got wet.", label, split) for label, split in kinds]


BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "nothing": ((), "expected items in .*, found none: give a file of JSON lines"),
    "no JSON": ((PAIR, "{"), r"expected JSON in .* line 2, found '\{': write one object a line"),
    "no object": ((PAIR, [1]), r"expected an object in .* line 2, found \[1\]"),
    "other fields": (({"good": "a"},), "expected items of {sentence_good, sentence_bad}.* found the fields good in"),
    "a field is missing": ((PAIR, {"sentence_good": "a"}), "a text for sentence_bad in .* line 2, found None"),
    "no text": (({**PAIR, "sentence_bad": " "},), "a text for sentence_bad in .* line 1, found ' '"),
    "no group": ((PAIR, {**PAIR, "UID": ""}), "UID in .* line 2, as the first item has it, found none: give it to all"),
    "no options": (({**OPTIONS, "options": []},), r"two options or more in .* line 1, found \[\]"),
    "one option": (({**OPTIONS, "options": ["a"]},), "two options or more in .* line 1"),
    "options of numbers": (({**OPTIONS, "options": [1, 2]},), "two options or more in .* line 1"),
    "label out of range": (({**OPTIONS, "label": 2},), "a label from 0 to 1 in .* line 1, found 2"),
    "label of another kind": (({**OPTIONS, "label": True},), "a label from 0 to 1 in .* line 1, found True"),
    "no label": (({"text": "a", "split": "train"},), "a label in .* line 1, found None"),
    "another split": (({**LABELLED, "split": "dev"},), "a split of train, validation, test in .* line 1, found 'dev'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_item_is_told_with_file_and_line(case: str, tmp_path: Path) -> None:
    rows, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read_task("task", str(write(tmp_path / "task.jsonl", *rows)))


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a task's file at .*none.jsonl, found none: check the path"):
        read_task("task", str(tmp_path / "none.jsonl"))
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"expected JSON lines in UTF-8 at .*bytes.jsonl, found something else"):
        read_task("task", str(tmp_path / "bytes.jsonl"))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(PAIR).encode() * 99)[:60])
    with pytest.raises(InputError, match=r"expected JSON lines in UTF-8 at .*cut.jsonl.gz"):
        read_task("task", str(tmp_path / "cut.jsonl.gz"))
