"""NumPy files, .npy (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html)."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from pleura.errors import DataError
from pleura.files.limits import check_claimed_size
from pleura.formats.image_format import ImageFormat
from pleura.scan.origin import FormatName
from pleura.typing import AnyArray

_MAX_CHANNELS = 4


class NumpyFormat(ImageFormat):
    """NumPy files: an array of one slice, or of a volume."""

    name: FormatName = "array"
    suffixes: tuple[str, ...] = (".npy",)
    output_suffixes: tuple[str, ...] = (".npy",)
    stores_stacks = True

    def decode(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Return an array (rows, columns) or (rows, columns, channels)."""
        array = _map(path)
        if array.ndim == 3 and array.shape[2] > _MAX_CHANNELS:
            raise DataError(
                f"the file contains a volume of shape {array.shape}, not a single slice",
                where=path,
                hint="save one slice per file",
            )
        return np.array(array)

    def decode_stack(self, path: Path) -> AnyArray | None:
        """Return an array (slices, rows, columns); None if the array has other dimensions."""
        array = _map(path)
        return np.array(array) if array.ndim == 3 else None

    def encode(self, file: IO[bytes], array: AnyArray) -> None:
        """Write an array to an open file."""
        np.save(file, array)


NUMPY = NumpyFormat()


def _map(path: Path) -> AnyArray:
    """Map an array to memory, so that its shape is known before it is read."""
    array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    check_claimed_size(array.nbytes, None, path)
    return array
