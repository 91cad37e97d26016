"""DICOM data sets, also of files without preamble, file meta information or Transfer Syntax UID."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

_VRS = {vr.value.encode() for vr in VR if len(vr.value) == 2}
_MAX_FIRST_LENGTH = 1 << 10
"""Bytes of the first element: a group length, a character set, a type or a UID."""


def read_dataset(path: Path, *, stop_before_pixels: bool = False) -> FileDataset:
    """Read a DICOM file, and set its Transfer Syntax UID if it has none.

    A file without preamble is read if its first element is of group 0002 or 0008 and it has a
    SOP Class UID of DICOM. A missing Transfer Syntax UID is that of the encoding of the data set
    (PS3.5 10.1: Implicit VR Little Endian is the default).

    Raises
    ------
    InvalidDicomError
        The file is not DICOM.
    Exception
        pydicom raises OSError, ValueError, struct.error and others for corrupt files.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        if not _begins_with_dataset(path):
            raise
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
        if not str(dataset.get("SOPClassUID", "")).startswith("1.2.840.10008."):
            raise
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _begins_with_dataset(path: Path) -> bool:
    """Return whether the first bytes may be a data set, or file meta information."""
    with path.open("rb") as file:
        start = file.read(1024)
    # Deflated files are limited in size only if they have a preamble.
    if len(start) < 8 or str(DeflatedExplicitVRLittleEndian).encode() in start:
        return False
    group, _, length = struct.unpack("<HHI", start[:8])
    return group in (0x0002, 0x0008) and (start[4:6] in _VRS or length <= _MAX_FIRST_LENGTH)
