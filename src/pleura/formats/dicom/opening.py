"""DICOM files opened, also those without preamble, file meta information or Transfer Syntax UID."""

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
_LONGEST_FIRST = 1 << 10
"""Bytes: the first element of a data set is a group length, a character set, a type or a UID."""


def open_dicom(path: Path, *, stop_before_pixels: bool = False) -> FileDataset:
    """Read a DICOM file; its Transfer Syntax UID is set.

    A file without preamble is read if its first element is one of group 0002 or 0008 and it has a
    SOP Class UID of DICOM. Where the Transfer Syntax UID is missing, it is the one in which
    the data set is encoded (PS3.5 10.1: Implicit VR Little Endian is the default).

    Raises
    ------
    InvalidDicomError
        The file is not DICOM.
    Exception
        What pydicom raises for a damaged file: OSError, ValueError, struct.error and others.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        if not _starts_as_dataset(path):
            raise
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
        if not str(dataset.get("SOPClassUID", "")).startswith("1.2.840.10008."):
            raise
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _starts_as_dataset(path: Path) -> bool:
    """Tell by its first bytes whether a file may be a data set, or file meta information."""
    with path.open("rb") as file:
        start = file.read(1024)
    # Unpacking is limited only for files that have a preamble.
    if len(start) < 8 or str(DeflatedExplicitVRLittleEndian).encode() in start:
        return False
    group, _, length = struct.unpack("<HHI", start[:8])
    return group in (0x0002, 0x0008) and (start[4:6] in _VRS or length <= _LONGEST_FIRST)
