"""What was appended is what numpy loads."""

from pathlib import Path

import numpy as np
import pytest

from lm_objectives.data.preparation.arrays import AppendableArray


@pytest.mark.parametrize(("dtype", "row"), [("uint16", ()), ("uint32", ()), ("int64", (2,))])
def test_chunks_are_one_array(tmp_path: Path, dtype: str, row: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    chunks = [generator.integers(0, 2**16, (length, *row)).astype(dtype) for length in (3, 0, 1, 2000)]
    with AppendableArray(tmp_path / "a.npy", np.dtype(dtype), row) as array:
        for chunk in chunks:
            array.append(chunk)
    loaded = np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False)
    assert loaded.dtype == dtype
    assert np.array_equal(loaded, np.concatenate(chunks))
    assert array.length == 2004


def test_numbers_that_do_not_fit_are_no_silent_wrap(tmp_path: Path) -> None:
    with AppendableArray(tmp_path / "a.npy", np.dtype("uint16")) as array, pytest.raises(OverflowError):
        array.append([2**16])
