"""Suffixes of DICOM files."""

from __future__ import annotations

DICOM_SUFFIXES = (".dcm", ".ima")
"""Suffixes that DICOM files usually have; they are recognised by their content."""

SEG_SUFFIX = ".dcm"
RTSTRUCT_SUFFIX = ".rtstruct.dcm"
