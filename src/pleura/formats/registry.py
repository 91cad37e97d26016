"""All file formats, and the format of a file name."""

from __future__ import annotations

from pathlib import Path, PurePath

from pleura.errors import DataError
from pleura.formats.dicom.format import DICOM
from pleura.formats.dicom.suffixes import RTSTRUCT_SUFFIX, SEG_SUFFIX
from pleura.formats.format import Format
from pleura.formats.image_files import IMAGE_FORMATS, IMAGE_SUFFIXES
from pleura.formats.metaimage import METAIMAGE
from pleura.formats.nifti import NIFTI
from pleura.formats.npy import NUMPY
from pleura.formats.nrrd import NRRD
from pleura.formats.png import PNG
from pleura.formats.seg_nrrd import SEG_NRRD
from pleura.formats.tiff import TIFF

VOLUME_FORMATS: tuple[Format, ...] = (NIFTI, SEG_NRRD, NRRD, METAIMAGE)
"""Formats of which one file is one volume with its geometry."""

FORMATS: tuple[Format, ...] = (*VOLUME_FORMATS, *IMAGE_FORMATS, DICOM)

VOLUME_SUFFIXES = tuple(suffix for item in VOLUME_FORMATS for suffix in item.suffixes)
ZIP_SUFFIX = ".zip"
SCAN_SUFFIXES = (*VOLUME_SUFFIXES, *IMAGE_SUFFIXES, ZIP_SUFFIX)
"""Suffixes of files of which each is one scan; DICOM files are grouped into series instead."""

OUTPUT_SUFFIXES = tuple(suffix for item in FORMATS for suffix in item.output_suffixes)

OUTPUT_FORMATS = {
    "nifti": NIFTI.output_suffixes[0],
    "nrrd": NRRD.output_suffixes[0],
    "seg-nrrd": SEG_NRRD.output_suffixes[0],
    "mha": METAIMAGE.output_suffixes[0],
    "tiff": TIFF.output_suffixes[0],
    "png": PNG.output_suffixes[0],
    "npy": NUMPY.output_suffixes[0],
    "dicom-seg": SEG_SUFFIX,
    "rtstruct": RTSTRUCT_SUFFIX,
}
"""Suffix of the masks of a cohort per value of the option ``format``."""


def format_of(path: PurePath) -> Format | None:
    """Return the format of a file of one scan by its suffix; None for DICOM and unknown files."""
    name = path.name.lower()
    formats: tuple[Format, ...] = (*VOLUME_FORMATS, *IMAGE_FORMATS)
    return next((item for item in formats if name.endswith(item.suffixes)), None)


def output_format(path: PurePath) -> Format:
    """Return the format in which a file of this name is written.

    Raises
    ------
    DataError
        No format with this suffix is written.
    """
    name = path.name.lower()
    for item in FORMATS:
        if item.output_suffixes and name.endswith(item.output_suffixes):
            return item
    raise DataError(
        f"cannot write the output as '{path.suffix}'",
        where=str(path),
        hint=f"choose a name that ends in {', '.join(OUTPUT_SUFFIXES)}",
    )


def same_format_suffix(path: PurePath) -> str:
    """Return the suffix of a mask in the format of its scan; NIfTI for DICOM and other files."""
    scan_format = format_of(path)
    if scan_format is None:
        return NIFTI.output_suffixes[0]
    return (scan_format.output_suffixes or PNG.output_suffixes)[0]


def scan_name(path: Path) -> str:
    """Return the name that results of a file or folder get: its name without the suffix."""
    name = path.name
    for suffix in sorted((*SCAN_SUFFIXES, *DICOM.suffixes, RTSTRUCT_SUFFIX), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
