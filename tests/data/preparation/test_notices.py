"""What is not read is one line, told once in a process."""

import pytest

from lm_objectives.data.preparation import notices
from lm_objectives.data.preparation.notices import not_read, tell


@pytest.mark.parametrize(
    ("names", "oracle"),
    [
        ([], []),
        (["b"], ["not read in d: archives, 1 (b): unpack them"]),
        ({"c", "a", "b"}, ["not read in d: archives, 3 (a, b, c): unpack them"]),
        (
            [f"{number:04d}" for number in range(1234)],
            ["not read in d: archives, 1,234 (0000, 0001, 0002, …): unpack them"],
        ),
    ],
)
def test_count_and_three_names(names: list[str], oracle: list[str]) -> None:
    assert [*not_read("d", "archives", names, "unpack them")] == oracle


def test_told_once(caplog: pytest.LogCaptureFixture) -> None:
    notices._tell.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", "1")
        tell(["100 % of one"])
    tell(["100 % of one", "two"])
    tell(["two", "three"])
    assert [record.getMessage() for record in caplog.records] == ["100 % of one", "two", "three"]
