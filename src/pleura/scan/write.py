"""Masks, and volumes on a scan's grid, out in the format that a name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pleura.errors import DataError
from pleura.scan.geometry import Geometry
from pleura.scan.metaimage import write_metaimage
from pleura.scan.nifti import write_nifti
from pleura.scan.nrrd import write_nrrd
from pleura.scan.pictures import TIFF, write_atomically, write_picture
from pleura.scan.scan import Mask, Values

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", *TIFF, ".png", ".npy")
SUFFIXES = (*VOLUMES, ".rtstruct.dcm", ".dcm")

_GRIDS = {
    ".nii.gz": (write_nifti, "NIfTI"),
    ".nii": (write_nifti, "NIfTI"),
    ".nrrd": (write_nrrd, "NRRD"),
    ".mha": (write_metaimage, "MetaImage"),
}


def write_mask(path: Path, mask: Mask, *, binary: bool = False) -> None:
    """Write a mask; the suffix says how.

    NIfTI, NRRD and MetaImage keep the scan's grid, and its header where it is of the same format;
    .dcm is a DICOM SEG and .rtstruct.dcm an RT Structure Set on the scan's slices. TIFF, PNG and
    NumPy hold the labels alone, in the scan's own order of slices, rows and columns; ``binary``
    writes those as 0 and 255.

    Raises
    ------
    DataError
        The suffix is another one, has no room for a volume, or the file cannot be written.
    """
    lower = path.name.lower()
    if lower.endswith(".rtstruct.dcm"):
        from pleura.scan.dicom.rtstruct import write_rtstruct

        write_rtstruct(path, mask)
    elif lower.endswith(".dcm"):
        from pleura.scan.dicom.seg import write_seg

        write_seg(path, mask)
    else:
        white = binary and not lower.endswith(tuple(_GRIDS))
        labels = np.where(mask.labels, 255, 0).astype(np.uint8) if white else mask.labels
        own = mask.scan.format, mask.scan.header
        write_volume(path, labels, mask.geometry, own)


def write_volume(
    path: Path, array: Values, geometry: Geometry, own: tuple[str, Any] = ("", None)
) -> None:
    """Write an array (slices, rows, columns) on a grid; the suffix says how.

    ``own`` is a format and a header: a file of that format gets its grid from that header.

    Raises
    ------
    DataError
        The suffix is another one, has no room for a volume, or the file cannot be written.
    """
    lower = path.name.lower()
    for suffix, (write, kind) in _GRIDS.items():
        if lower.endswith(suffix):
            write(path, array, geometry, own[1] if own[0] == kind else None)
            return
    if not lower.endswith(VOLUMES):
        raise DataError(
            f"this cannot be written as '{path.suffix}'",
            where=path,
            fix=f"choose a name that ends in {', '.join(SUFFIXES)}",
        )
    if len(array) == 1 or lower.endswith(".npy"):
        write_picture(path, array[0] if len(array) == 1 else array)
    elif lower.endswith(".png"):
        raise DataError(
            f"a PNG holds one slice, and this has {len(array)}",
            where=path,
            fix="write .nii.gz, or .tif for a stack",
        )
    else:
        write_atomically(
            path,
            lambda file: tifffile.imwrite(
                file, array, photometric="minisblack", compression="zlib"
            ),
        )
