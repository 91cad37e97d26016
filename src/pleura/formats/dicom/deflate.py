"""Size limit of deflated DICOM files (PS3.5 A.5), which pydicom inflates before parsing them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_RATIO = 20
"""Maximum ratio: CT with air around the patient deflates to at least a tenth of its size."""

MIN_LIMIT = 64 << 20
"""Bytes to which every file may inflate."""

_CHUNK = 1 << 20


def inflation_limit(path: Path) -> int:
    """Return the number of bytes to which a file may inflate."""
    return max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)


def exceeds_inflation_limit(path: Path) -> bool:
    """Return whether a file is deflated and inflates to more than its size allows.

    Raises
    ------
    zlib.error
        The deflated data are corrupt.
    """
    with path.open("rb") as file:
        read_preamble(file, force=True)
        try:  # pydicom finds the data set in this way: the group length may be wrong
            meta = read_dataset(file, False, True, stop_when=_is_after_meta)
        # pydicom raises the same error again when the file is read.
        except Exception:  # noqa: BLE001
            return False
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        decompressor, size, limit = zlib.decompressobj(-zlib.MAX_WBITS), 0, inflation_limit(path)
        while size <= limit and (deflated := file.read(_CHUNK)):
            while deflated and size <= limit and not decompressor.eof:
                size += len(decompressor.decompress(deflated, _CHUNK))
                deflated = decompressor.unconsumed_tail
        return size > limit


def _is_after_meta(tag: Any, _vr: str | None, _length: int) -> bool:
    return bool(tag.group != 2)
