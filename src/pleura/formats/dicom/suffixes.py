"""Suffixes of DICOM files."""

from __future__ import annotations

DICOM_SUFFIXES = (".dcm", ".ima")
"""Suffixes that DICOM files usually have; they are recognised by their content."""

SEG_SUFFIX = ".dcm"
RTSTRUCT_SUFFIX = ".rtstruct.dcm"


def dicom_kind(path: str) -> str:
    """Return the kind of DICOM object that is written to a path, as a prefix; else nothing."""
    name = path.lower()
    if name.endswith(RTSTRUCT_SUFFIX):
        return "RT Structure Set; "
    return "DICOM SEG; " if name.endswith(SEG_SUFFIX) else ""
