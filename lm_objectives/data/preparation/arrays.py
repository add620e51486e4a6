"""Array files that are written part by part."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


def write_array(path: Path, parts: Iterable[np.ndarray]) -> None:
    """Write arrays as one `.npy` file, one after another along the first axis, so that memory holds one at a time.

    The header is written again at the end; numpy leaves room in it for a first axis of any length. Unlike `numpy.save`,
    a full disk is an error with its number.

    Args:
        path: the file, made anew.
        parts: at least one, of the dtype and row shape of the first.
    """
    length, header = 0, {}
    with path.open("wb") as file:
        for part in parts:
            if not header:
                header = {"descr": npy.dtype_to_descr(part.dtype), "fortran_order": False, "shape": part.shape}
                npy.write_array_header_1_0(file, header)
            file.write(part.astype(header["descr"], casting="safe").tobytes())
            length += len(part)
        file.seek(0)
        npy.write_array_header_1_0(file, header | {"shape": (length, *header["shape"][1:])})
