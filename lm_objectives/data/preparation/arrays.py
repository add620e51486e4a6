"""Arrays that grow on disk."""

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy


class AppendableArray:
    """A `.npy` file that is appended to along its first axis, so that memory holds one chunk at a time.

    The header is written again at the end; numpy leaves room in it for a first axis of any length.

    Args:
        path: the file, made anew.
        dtype: type of its items.
        row: shape of one item along the first axis.
    """

    def __init__(self, path: Path, dtype: np.dtype, row: tuple[int, ...] = ()) -> None:
        self.length = 0
        self._dtype = np.dtype(dtype)
        self._row = row
        self._file = path.open("wb")
        self._write_header()

    def append(self, items: np.ndarray | list) -> None:
        """Add items at the end, `(n, *row)`; their values must fit the array's type."""
        chunk = np.asarray(items, dtype=self._dtype).reshape(-1, *self._row)
        self._file.write(chunk.tobytes())
        self.length += len(chunk)

    def _write_header(self) -> None:
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length, *self._row)}
        self._file.seek(0)
        npy.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "AppendableArray":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._write_header()
        self._file.close()


def write_array(path: Path, array: np.ndarray) -> None:
    """An array as a `.npy` file; unlike `numpy.save`, a full disk is an error with its number."""
    with AppendableArray(path, array.dtype, array.shape[1:]) as file:
        file.append(array)
