"""Voxels as plain or compressed bytes in a file, as in NRRD and MetaImage."""

from __future__ import annotations

import bz2
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.files.limits import RATIO, check_claimed_size, readable_size
from pleura.typing import StrPath

READ_ERRORS: tuple[type[Exception], ...] = (
    isal_zlib.error,  # type: ignore[assignment]
    OSError,
    EOFError,
)
"""Errors of reading an object of `open_compressed`."""

Compression = Literal["none", "gzip", "zlib", "bzip2"]

_PART = 1 << 25
"""Minimum number of bytes of a part; glibc returns blocks of this size to the system when they are
freed."""

_CHUNK = 1 << 24
_COMPRESSED_CHUNK = 1 << 16
_MIN_LIMIT_BZIP2 = 512 << 20
"""Bytes that bzip2 compresses to less than a kilobyte if they are equal, as in a mask."""


def check_shape(
    shape: tuple[int, ...], where: StrPath, dtype: np.dtype[Any] | None = None
) -> tuple[int, int, int]:
    """Return (slices, rows, columns) from the sizes in a header, the slowest axis first.

    ``dtype`` is None for an array that is in memory.

    Raises
    ------
    ScanError
        The array is not 2-D or 3-D, or its voxels exceed the memory limit.
    """
    sizes = " x ".join(map(str, shape))
    leading = shape[:-3]
    if any(n != 1 for n in leading):
        raise ScanError(
            f"the array of shape {sizes} is not a single volume",
            where=where,
            hint="save one volume per file",
        )
    padded = (1, 1, 1, *shape)[-3:]
    if len(shape) < 2 or min(padded) < 1:
        raise ScanError(
            f"the header claims an impossible size of {sizes} voxels",
            where=where,
            hint="copy or export the file again",
        )
    if dtype is not None:
        check_claimed_size(math.prod(padded) * dtype.itemsize, None, where)
    return padded[0], padded[1], padded[2]


def referenced_file(header: Path, name: str) -> Path:
    """Return the file with the voxels that a header refers to.

    Raises
    ------
    ScanError
        The file is missing, is not in the folder of the header, or contains one slice only.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(
            f"volumes with one file per slice are not supported (the header refers to '{name}')",
            where=header,
            hint="save the volume as one file: .nii.gz, .nrrd or .mha",
        )
    name = name.removeprefix("./")
    path = header.parent / name
    if Path(name).name == name and path.is_symlink():
        raise ScanError(
            f"the file with the voxels, '{name}', is a link",
            where=header,
            hint="copy the file into the folder of the header",
        )
    if Path(name).name != name or not path.is_file():
        raise ScanError(
            f"the file with the voxels, '{name}', is not in the folder of the header",
            where=header,
            hint="move header and data into one folder, under the names in the header",
        )
    return path


def read_voxels(
    path: Path,
    start: int | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    compression: Compression,
    skip: int = 0,
) -> Iterator[NDArray[Any]]:
    """Read an array of ``shape`` from a file, in parts of consecutive slices, in native byte order.

    Parameters
    ----------
    path, dtype, shape, compression:
        The file, and how it stores the voxels.
    start:
        First byte of the voxels; None if they are at the end of the file.
    skip:
        Bytes to skip after ``start``, counted after decompression.

    Raises
    ------
    ScanError
        The file is too short, its compression is damaged, or memory does not suffice.
    """
    slices = shape[0]
    size = math.prod(shape) * dtype.itemsize
    step = -(-_PART // (size // slices))
    sizes = [min(step, slices - i) * (size // slices) for i in range(0, slices, step)]
    try:
        check_voxels(path, size, compression)
        if compression == "none":
            contents = _read_bytes(path, None if start is None else start + skip, sizes)
        else:
            contents = _decompress_bytes(path, start or 0, skip, sizes, compression)
        for content in contents:
            part = content.view(dtype).reshape(-1, *shape[1:])
            yield part.astype(dtype.newbyteorder("="), copy=False)
    except MemoryError as error:
        raise ScanError(
            f"not enough memory for {readable_size(size)} of voxels",
            where=path,
            hint="free memory, or crop the scan; if the scan is smaller, correct its header",
        ) from error
    except OSError as error:
        raise ScanError(
            f"the voxels cannot be read ({error.strerror or error})",
            where=path,
            hint="check the path and its permissions",
        ) from error


def check_voxels(path: Path, size: int, compression: Compression) -> None:
    """Refuse a size of voxels, in bytes, that exceeds the capacity of a file or the memory limit.

    Raises
    ------
    ScanError
        The size is too large.
    """
    ratio = 1 if compression == "none" else RATIO
    min_limit = _MIN_LIMIT_BZIP2 if compression == "bzip2" else 0
    check_claimed_size(size, path.stat().st_size, path, ratio=ratio, min_limit=min_limit)


def _read_bytes(path: Path, start: int | None, sizes: list[int]) -> Iterator[NDArray[np.uint8]]:
    file_size, size = path.stat().st_size, sum(sizes)
    offset = file_size - size if start is None else start
    if offset < 0 or file_size < offset + size:
        raise _truncated(path, max(file_size - (start or 0), 0), size)
    with path.open("rb") as file:
        file.seek(offset)
        for n in sizes:
            yield np.fromfile(file, np.uint8, n)


def _decompress_bytes(
    path: Path, start: int, skip: int, sizes: list[int], compression: Compression
) -> Iterator[NDArray[np.uint8]]:
    done = 0
    with path.open("rb") as file:
        file.seek(start)
        stream = open_compressed(file, compression)

        def read(n: int) -> bytes:
            try:
                chunk: bytes = stream.read(min(_CHUNK, n))
            except READ_ERRORS as error:
                raise _truncated(path, done, sum(sizes)) from error
            if not chunk:
                raise _truncated(path, done, sum(sizes))
            return chunk

        while skip > 0:
            skip -= len(read(skip))
        for size in sizes:
            content = np.empty(size, np.uint8)  # memory pages are allocated as they are filled
            filled = 0
            while filled < size:
                chunk = read(size - filled)
                content[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
                filled += len(chunk)
                done += len(chunk)
            yield content


def open_compressed(file: BinaryIO, compression: Compression) -> Any:
    """Return an object whose ``read(n)`` decompresses at most n bytes from the file position."""
    if compression == "gzip":
        return igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
    return bz2.BZ2File(file) if compression == "bzip2" else _Zlib(file)


class _Zlib:
    """A zlib stream (RFC 1950), for which the standard library has no file object."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = isal_zlib.decompressobj(15)

    def read(self, n: int) -> bytes:
        while not self._decoder.eof:
            compressed = self._decoder.unconsumed_tail or self._file.read(_COMPRESSED_CHUNK)
            decompressed: bytes = self._decoder.decompress(compressed, n)
            if decompressed or not compressed:
                return decompressed
        return b""


def _truncated(path: Path, available: int, size: int) -> ScanError:
    return ScanError(
        f"the file is truncated or corrupt: {available} of {size} bytes of voxels can be read",
        where=path,
        hint="copy or export the file again",
    )
