"""A bound on deflated DICOM files (PS3.5 A.5): pydicom unpacks a file before it reads any of it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_RATIO = 20
"""CT values, with the air around the patient, deflate to no less than a tenth of their bytes."""

SMALL = 64 << 20
"""Bytes to which any file may unpack."""

_CHUNK = 1 << 20


def most_inflated(path: Path) -> int:
    """Return the bytes to which a file may unpack."""
    return max(SMALL, MAX_RATIO * path.stat().st_size)


def inflates_too_far(path: Path) -> bool:
    """Tell whether a file is deflated and unpacks to more than its size allows.

    Raises
    ------
    zlib.error
        Its data are damaged.
    """
    with path.open("rb") as file:
        read_preamble(file, force=True)
        try:  # as pydicom finds the data: the group length in the header may be wrong
            meta = read_dataset(file, False, True, stop_when=_behind_meta)
        # Whatever pydicom raises for a file that is no DICOM, it raises again when it reads it.
        except Exception:  # noqa: BLE001
            return False
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        inflater, inflated, most = zlib.decompressobj(-zlib.MAX_WBITS), 0, most_inflated(path)
        while inflated <= most and (packed := file.read(_CHUNK)):
            while packed and inflated <= most and not inflater.eof:
                inflated += len(inflater.decompress(packed, _CHUNK))
                packed = inflater.unconsumed_tail
        return inflated > most


def _behind_meta(tag: Any, _vr: str | None, _length: int) -> bool:
    return bool(tag.group != 2)
