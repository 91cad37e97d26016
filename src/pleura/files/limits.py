"""Memory limits of reading: one check of every size that a file header claims.

Before memory is allocated, ``check_claimed_size`` compares a size with the size of the file and
with the memory limit. The default limit is 4 GiB of stored voxels, which is 8192 slices of
512x512. The environment variable ``PLEURA_MAX_MEMORY`` sets another limit, for example ``16G``.
Unless it is set, a scan that needs more memory than is available is refused, too.
"""

from __future__ import annotations

import os
import re

from pleura.errors import ScanError
from pleura.files.memory import available_memory
from pleura.typing import StrPath

VARIABLE = "PLEURA_MAX_MEMORY"
MAX_MEMORY = 4 << 30
RATIO = 1032
"""Maximum ratio of deflate compression (https://zlib.net/zlib_tech.html)."""

MIN_LIMIT = 64 << 20
"""Bytes that any compressed file may claim: some methods compress constant values further."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_limit() -> int:
    """Return the maximum number of bytes of the voxels of one scan.

    Raises
    ------
    ScanError
        ``PLEURA_MAX_MEMORY`` is not a size.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return MAX_MEMORY
    match = re.fullmatch(r"(\d{1,18})\s*([KMGT]?)(i?B)?", text, re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ScanError(
            f"{VARIABLE} is '{text}', which is not a size",
            where=None,
            hint=f"set {VARIABLE} to bytes or to a number with K, M, G or T, for example 16G",
        )
    return int(match[1]) * _UNITS[match[2].upper()]


def check_claimed_size(
    claimed: int,
    size: int | None,
    where: StrPath,
    *,
    ratio: int = RATIO,
    min_limit: int = MIN_LIMIT,
) -> None:
    """Refuse a size that exceeds the capacity of the file or the memory limit.

    Parameters
    ----------
    claimed
        Bytes of the voxels after decompression, according to the header.
    size
        Bytes of the file, or of the part with these voxels; None to check the memory limit only.
    where
        The file or object, for the error message.
    ratio
        Maximum compression ratio; 1 without compression.
    min_limit
        Bytes that are accepted for any ``size`` of compressed data.

    Raises
    ------
    ScanError
        The size is too large, or the memory does not suffice.
    """
    if size is not None and claimed > max(size * ratio, min_limit if ratio > 1 else 0):
        raise ScanError(
            "the file is truncated or its header is wrong: it claims "
            f"{readable_size(claimed)} of voxels, too many for {readable_size(size)} of data",
            where=where,
            hint="copy or export the file again",
        )
    limit = memory_limit()
    if claimed > limit:
        raise ScanError(
            f"the header claims {readable_size(claimed)} of voxels, "
            f"more than the limit of {readable_size(limit)}",
            where=where,
            hint=f"crop or resample the scan, or raise the limit with {VARIABLE} if the header "
            "is correct",
        )
    if claimed > MIN_LIMIT:
        require_memory(claimed, "its voxels", where)


def require_memory(needed: int, purpose: str, where: StrPath | None) -> None:
    """Refuse a scan that needs more memory than is available.

    Nothing is refused if ``PLEURA_MAX_MEMORY`` is set, or if the available memory is unknown.

    Parameters
    ----------
    needed
        Bytes.
    purpose, where
        What needs them, and the file or object, for the error message.

    Raises
    ------
    ScanError
        The memory does not suffice.
    """
    available = None if os.environ.get(VARIABLE, "").strip() else available_memory()
    if available is not None and needed > available:
        raise ScanError(
            f"the scan needs {readable_size(needed)} of memory for {purpose}, but "
            f"{readable_size(available)} are available",
            where=where,
            hint="close other programs, or crop or resample the scan; "
            f"set {VARIABLE}, for example to 16G, to try it in spite of that",
        )


def readable_size(n: int) -> str:
    """Return a number of bytes with a binary unit."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= factor:
            return f"{n / factor:.3g} {unit}"
    return f"{n} bytes"
