"""Large arrays in temporary files instead of memory."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

from pleura.errors import DataError
from pleura.files.limits import readable_size
from pleura.typing import AnyArray

MAX_IN_MEMORY = 256 << 20
"""Bytes of an array above which it is in a temporary file."""

_BLOCK = 16 << 20


def allocate_array(shape: tuple[int, ...], dtype: DTypeLike, purpose: str) -> AnyArray:
    """Return a new array, in memory or, if it is large, mapped from a temporary file.

    The file has no name, so that the operating system removes it with the array, also if the
    process is killed. Its pages are in the file cache, which the system frees if memory is needed.

    Parameters
    ----------
    shape, dtype:
        Of the array. Its values are undefined.
    purpose:
        What the array contains, in the plural, for the error message.

    Returns
    -------
    ndarray

    Raises
    ------
    DataError
        The disk of the temporary folder has too little free space.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= MAX_IN_MEMORY:
        return np.empty(shape, dtype)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{purpose} need {readable_size(size)} on disk, but {readable_size(free)} are free",
            where=folder,
            hint=_hint(folder),
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file, size)
            # Plain ndarray, whose base keeps the mapping open.
            return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
    except OSError as error:
        raise _not_written(purpose, error) from error


class TemporaryRows:
    """Rows of an array of unknown length, in a temporary file without a name.

    Parameters
    ----------
    columns, dtype:
        Of the array.
    purpose:
        What the array contains, in the plural, for the error message.
    """

    def __init__(self, columns: int, dtype: DTypeLike, purpose: str) -> None:
        self._columns = columns
        self._dtype = np.dtype(dtype)
        self._purpose = purpose
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open until `array`)
        self._rows = 0

    def append(self, row: AnyArray) -> None:
        """Write a row.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        try:
            self._file.write(row.astype(self._dtype).tobytes())
        except OSError as error:
            raise _not_written(self._purpose, error) from error
        self._rows += 1

    def array(self) -> AnyArray:
        """Return the array (rows, columns), mapped from the file; no row may follow.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        shape = self._rows, self._columns
        try:
            with self._file as file:
                file.flush()
                if not self._rows:  # an empty file cannot be mapped
                    return np.empty(shape, self._dtype)
                return np.asarray(np.memmap(file, self._dtype, "r+", shape=shape))
        except OSError as error:
            raise _not_written(self._purpose, error) from error


def _not_written(purpose: str, error: OSError) -> DataError:
    folder = tempfile.gettempdir()
    return DataError(
        f"the temporary file of {purpose} cannot be written ({error.strerror or error})",
        where=folder,
        hint=_hint(folder),
    )


def _hint(folder: str) -> str:
    return f"free space in {folder}, or set TMPDIR to a folder on a larger disk"


def _reserve(file: IO[bytes], size: int) -> None:
    """Allocate the blocks of a file: writing to the map of a full disk ends the process."""
    if sys.platform == "linux":
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(_BLOCK)
    for start in range(0, size, _BLOCK):
        file.write(zeros[: size - start])
    file.flush()
