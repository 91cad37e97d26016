"""Voxels as plain or compressed bytes in a file, as NRRD and MetaImage hold them."""

from __future__ import annotations

import bz2
from pathlib import Path
from typing import Any, Literal

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from pleura.errors import ScanError

Compression = Literal["none", "gzip", "zlib", "bzip2"]
MAX_VOXELS = 1 << 31
"""Of a scan: 8192 slices of 512x512. A header that claims more lies."""

DEFLATE = 1032
"""Bytes that a byte of zlib or gzip can unpack to, at most (https://zlib.net/zlib_tech.html)."""

_CHUNK = 1 << 24


def check_shape(shape: tuple[int, ...], where: str | Path) -> tuple[int, int, int]:
    """Return (slices, rows, columns) of a header's sizes, the slowest first.

    Raises
    ------
    ScanError
        It is no 2-D or 3-D grid, or larger than any CT.
    """
    sizes = " x ".join(map(str, shape))
    leading = shape[:-3]
    if any(n != 1 for n in leading):
        raise ScanError(
            f"{len(shape)}-D: {sizes}, not one volume",
            where=where,
            fix="save each volume as a file of its own",
        )
    whole = (1, 1, 1, *shape)[-3:]
    if len(shape) < 2 or min(whole) < 1 or np.prod(whole, dtype=np.float64) > MAX_VOXELS:
        raise ScanError(
            f"the header claims {sizes} voxels",
            where=where,
            fix="check the file: no CT is of that size",
        )
    return whole[0], whole[1], whole[2]


def beside(header: Path, name: str) -> Path:
    """Return the file that a header names as holding its voxels.

    Raises
    ------
    ScanError
        It lies in another folder than the header: it might be anything.
    """
    name = name.removeprefix("./")
    path = header.parent / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise ScanError(
            f"the header names '{name}' for its voxels, which is no file beside it",
            where=header,
            fix="put header and data into one folder, under the names that the header has",
        )
    return path


def read_voxels(
    path: Path,
    start: int | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    compression: Compression,
) -> NDArray[Any]:
    """Read an array of ``shape`` from byte ``start``, or from the end back where that is None.

    Raises
    ------
    ScanError
        The file holds less than that, or its compression is damaged.
    """
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        size = path.stat().st_size
        if compression in ("gzip", "zlib") and wanted > DEFLATE * size:
            raise _short(path, size, wanted)
        content = _read_bytes(path, start, wanted, compression)
    except MemoryError as error:
        raise ScanError(
            f"there is no memory for {wanted >> 20} MB of voxels",
            where=path,
            fix="free some, or crop the scan; if it is smaller than that, its header is wrong",
        ) from error
    except OSError as error:
        raise ScanError(
            f"the voxels cannot be read ({error.strerror or error})",
            where=path,
            fix="check that the file is there and may be read",
        ) from error
    return content.view(dtype).reshape(shape)


def _read_bytes(
    path: Path, start: int | None, wanted: int, compression: Compression
) -> NDArray[np.uint8]:
    have = path.stat().st_size
    if compression == "none":
        offset = have - wanted if start is None else start
        if offset < 0 or have < offset + wanted:
            raise _short(path, max(have - (start or 0), 0), wanted)
        return np.fromfile(path, np.uint8, wanted, offset=offset)
    content = np.empty(wanted, np.uint8)  # pages are taken only as they are filled
    filled = 0
    decoder = _decoder(compression)
    with path.open("rb") as file:
        file.seek(start or 0)
        while filled < wanted and (packed := file.read(_CHUNK)):
            while filled < wanted:
                try:
                    plain = decoder.decompress(packed, min(_CHUNK, wanted - filled))
                except (isal_zlib.error, OSError, EOFError) as error:  # type: ignore[misc]
                    raise _short(path, filled, wanted) from error
                content[filled : filled + len(plain)] = np.frombuffer(plain, np.uint8)
                filled += len(plain)
                packed = getattr(decoder, "unconsumed_tail", b"")
                if not plain or (not packed and getattr(decoder, "needs_input", True)):
                    break
            if decoder.eof:
                rest = decoder.unused_data
                if not rest or compression != "gzip":
                    break
                decoder = _decoder(compression)  # gzip files may be several, one after the other
                file.seek(-len(rest), 1)
    if filled < wanted:
        raise _short(path, filled, wanted)
    return content


def _decoder(compression: Compression) -> Any:
    if compression == "bzip2":
        return bz2.BZ2Decompressor()
    return isal_zlib.decompressobj(31 if compression == "gzip" else 15)


def _short(path: Path, have: int, wanted: int) -> ScanError:
    return ScanError(
        f"the file is truncated or corrupt: {have} of {wanted} bytes of voxels can be read",
        where=path,
        fix="copy or export the file again",
    )
