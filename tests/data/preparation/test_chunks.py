"""What was written in parts is what numpy loads."""

from pathlib import Path

import numpy as np
import pytest

from lm_objectives.data.preparation.chunks import write_array


@pytest.mark.parametrize(("dtype", "row"), [("uint16", ()), ("uint32", ()), ("int64", (2,))])
@pytest.mark.parametrize("lengths", [(3, 0, 1, 2000), (0, 5), (0,)])
def test_parts_are_one_array(tmp_path: Path, dtype: str, row: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    parts = [generator.integers(0, 2**16, (length, *row)).astype(dtype) for length in lengths]
    write_array(tmp_path / "a.npy", iter(parts))
    loaded = np.load(tmp_path / "a.npy", mmap_mode="r" if sum(lengths) else None, allow_pickle=False)
    assert loaded.dtype == dtype
    assert np.array_equal(loaded, np.concatenate(parts))


def test_numbers_that_do_not_fit_are_no_silent_wrap(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'safe'"):
        write_array(tmp_path / "a.npy", [np.zeros(1, np.uint16), np.array([2**16])])
