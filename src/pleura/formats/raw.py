"""Voxels as plain or compressed bytes in a file, as in NRRD and MetaImage."""

from __future__ import annotations

import bz2
import math
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.files.limits import RATIO, check_claimed_size, readable_size
from pleura.typing import StrPath

Compression = Literal["none", "gzip", "zlib", "bzip2"]

_CHUNK = 1 << 24
_PACKED_CHUNK = 1 << 16
_SMALL_BZIP2 = 512 << 20
"""Bytes that bzip2 compresses to less than a kilobyte if they are equal, as in a mask."""


def check_shape(
    shape: tuple[int, ...], where: StrPath, dtype: np.dtype[Any] | None = None
) -> tuple[int, int, int]:
    """Return (slices, rows, columns) from the sizes in a header, the slowest axis first.

    ``dtype`` is None for an array that is in memory.

    Raises
    ------
    ScanError
        The grid is not 2-D or 3-D, or its voxels exceed the memory limit.
    """
    sizes = " x ".join(map(str, shape))
    leading = shape[:-3]
    if any(n != 1 for n in leading):
        raise ScanError(
            f"{len(shape)}-D: {sizes}, not one volume",
            where=where,
            hint="save each volume as a file of its own",
        )
    whole = (1, 1, 1, *shape)[-3:]
    if len(shape) < 2 or min(whole) < 1:
        raise ScanError(
            f"the header claims {sizes} voxels",
            where=where,
            hint="copy or export the file again",
        )
    if dtype is not None:
        check_claimed_size(math.prod(whole) * dtype.itemsize, None, where)
    return whole[0], whole[1], whole[2]


def referenced_file(header: Path, name: str) -> Path:
    """Return the file with the voxels that a header refers to.

    Raises
    ------
    ScanError
        The file is in another folder than the header, is missing, or is one of several.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(
            f"the header names one file per slice ('{name}'); such volumes are not read",
            where=header,
            hint="save the volume as one file: .nii.gz, .nrrd or .mha",
        )
    name = name.removeprefix("./")
    path = header.parent / name
    if Path(name).name == name and path.is_symlink():
        raise ScanError(
            f"the header names '{name}' for its voxels, which is a link",
            where=header,
            hint="copy the file into the folder of the header",
        )
    if Path(name).name != name or not path.is_file():
        raise ScanError(
            f"the header names '{name}' for its voxels, which is not a file in the same folder",
            where=header,
            hint="put header and data into one folder, under the names in the header",
        )
    return path


def read_voxels(
    path: Path,
    start: int | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    compression: Compression,
    skip: int = 0,
) -> NDArray[Any]:
    """Read an array of ``shape`` from a file.

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
    wanted = math.prod(shape) * dtype.itemsize
    try:
        check_voxels(path, wanted, compression)
        if compression == "none":
            content = _plain_bytes(path, None if start is None else start + skip, wanted)
        else:
            content = _unpacked_bytes(path, start or 0, skip, wanted, compression)
    except MemoryError as error:
        raise ScanError(
            f"not enough memory for {readable_size(wanted)} of voxels",
            where=path,
            hint="free memory or crop the scan; correct the header if the scan is smaller",
        ) from error
    except OSError as error:
        raise ScanError(
            f"the voxels cannot be read ({error.strerror or error})",
            where=path,
            hint="check that the file exists and is readable",
        ) from error
    return content.view(dtype).reshape(shape)


def check_voxels(path: Path, wanted: int, compression: Compression) -> None:
    """Refuse more voxels than this file can contain, or than the memory limit allows.

    Raises
    ------
    ScanError
        The header states too many voxels.
    """
    ratio = 1 if compression == "none" else RATIO
    small = _SMALL_BZIP2 if compression == "bzip2" else 0
    check_claimed_size(wanted, path.stat().st_size, path, ratio=ratio, small=small)


def _plain_bytes(path: Path, start: int | None, wanted: int) -> NDArray[np.uint8]:
    have = path.stat().st_size
    offset = have - wanted if start is None else start
    if offset < 0 or have < offset + wanted:
        raise _short(path, max(have - (start or 0), 0), wanted)
    return np.fromfile(path, np.uint8, wanted, offset=offset)


def _unpacked_bytes(
    path: Path, start: int, skip: int, wanted: int, compression: Compression
) -> NDArray[np.uint8]:
    content = np.empty(wanted, np.uint8)  # memory pages are allocated as they are filled
    filled = -skip
    with path.open("rb") as file:
        file.seek(start)
        stream = open_packed(file, compression)
        while filled < wanted:
            until = 0 if filled < 0 else wanted
            try:
                plain = stream.read(min(_CHUNK, until - filled))
            except (isal_zlib.error, OSError, EOFError) as error:  # type: ignore[misc]
                raise _short(path, max(filled, 0), wanted) from error
            if not plain:
                raise _short(path, max(filled, 0), wanted)
            if filled >= 0:
                content[filled : filled + len(plain)] = np.frombuffer(plain, np.uint8)
            filled += len(plain)
    return content


def open_packed(file: BinaryIO, compression: Compression) -> Any:
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
            packed = self._decoder.unconsumed_tail or self._file.read(_PACKED_CHUNK)
            plain: bytes = self._decoder.decompress(packed, n)
            if plain or not packed:
                return plain
        return b""


def _short(path: Path, have: int, wanted: int) -> ScanError:
    return ScanError(
        f"the file is truncated or corrupt: {have} of {wanted} bytes of voxels can be read",
        where=path,
        hint="copy or export the file again",
    )
