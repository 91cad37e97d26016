"""How much memory reading may take: one rule for every size that a file claims.

A size is checked before anything is allocated or unpacked, twice: whether a file of this many
bytes can hold it (``check_claim``), and whether it is below the memory limit. The limit is 4 GiB of
voxels as they are stored, which are 8192 slices of 512x512; the environment variable
``PLEURA_MAX_MEMORY`` sets another one, for example ``16G``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pleura.errors import ScanError

VARIABLE = "PLEURA_MAX_MEMORY"
MAX_MEMORY = 4 << 30
RATIO = 1032
"""Bytes that one byte of deflate can unpack to, at most (https://zlib.net/zlib_tech.html)."""

SMALL = 64 << 20
"""Bytes that any compressed file may claim: some methods pack constant values further."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_limit() -> int:
    """Return the most bytes of voxels that one scan may hold.

    Raises
    ------
    ScanError
        ``PLEURA_MAX_MEMORY`` is no size.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return MAX_MEMORY
    found = re.fullmatch(r"(\d{1,18})\s*([KMGT]?)(i?B)?", text, re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise ScanError(
            f"{VARIABLE} is '{text}', which is no size",
            where=None,
            hint=f"set {VARIABLE} to bytes or to a number with K, M, G or T, for example 16G",
        )
    return int(found[1]) * _UNITS[found[2].upper()]


def check_claim(
    claimed: int, size: int | None, where: str | Path, *, ratio: int = RATIO, small: int = SMALL
) -> None:
    """Refuse a claim of more bytes than the file can hold or than the memory limit.

    Parameters
    ----------
    claimed
        Bytes that the file says its voxels take, unpacked.
    size
        Bytes of the file, or of the part that holds these voxels; None if there is no file.
    where
        What the error is about.
    ratio
        How many bytes one byte can unpack to: 1 without compression.
    small
        Bytes that are allowed for any ``size``.

    Raises
    ------
    ScanError
        The claim is too large.
    """
    if size is not None and claimed > max(size * ratio, small if ratio > 1 else 0):
        raise ScanError(
            "the file is truncated or its header is wrong: it claims "
            f"{readable_size(claimed)} of voxels, {readable_size(size)} of data cannot hold them",
            where=where,
            hint="copy or export the file again",
        )
    limit = memory_limit()
    if claimed > limit:
        raise ScanError(
            f"the header claims {readable_size(claimed)} of voxels, "
            f"more than the limit of {readable_size(limit)}",
            where=where,
            hint=f"crop or resample the scan, or raise the limit with {VARIABLE}, if its header is "
            "right",
        )


def readable_size(n: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= factor:
            return f"{n / factor:.3g} {unit}"
    return f"{n} bytes"
