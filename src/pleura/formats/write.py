"""Masks, and volumes on a scan's grid, out in the format that a name asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import DTypeLike

from pleura.errors import DataError
from pleura.files.atomic import write_atomically
from pleura.formats.metaimage import write_metaimage
from pleura.formats.nifti import write_nifti
from pleura.formats.nrrd import write_nrrd
from pleura.formats.pictures import TIFF, write_picture
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LabelMap
from pleura.scan.origin import Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", *TIFF, ".png", ".npy")
SUFFIXES = (*VOLUMES, ".rtstruct.dcm", ".dcm")

_GRIDS = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_nrrd,
    ".mha": write_metaimage,
}


def check_can_write(path: Path, scan: Scan) -> tuple[Decision, ...]:
    """Check that a mask of a scan can be written under a name, before the mask is made.

    Returns
    -------
    tuple of Decision
        What the file will not keep of the scan, and what readers may refuse.

    Raises
    ------
    DataError
        The suffix is another one, or has no room for a volume.
    ScanError
        A DICOM object cannot refer to the scan's slices.
    """
    lower = path.name.lower()
    if lower.endswith(".dcm"):
        from pleura.formats.dicom.references import check_references

        structures = lower.endswith(".rtstruct.dcm")
        return check_references(scan, "an RT Structure Set" if structures else "a DICOM SEG")
    return check_can_hold(path, scan.geometry)


def check_can_hold(
    path: Path, geometry: Geometry, dtype: DTypeLike = np.uint8
) -> tuple[Decision, ...]:
    """Check that values on a grid can be written under a name; return what readers may refuse.

    Raises
    ------
    DataError
        The suffix is another one, or has no room for a volume or its values.
    """
    slices = geometry.shape[0]
    lower = path.name.lower()
    if not lower.endswith(VOLUMES):
        raise DataError(
            f"this cannot be written as '{path.suffix}'",
            where=path,
            hint=f"choose a name that ends in {', '.join(SUFFIXES)}",
        )
    if lower.endswith(".png") and slices > 1:
        raise DataError(
            f"a PNG holds one slice, and this has {slices}",
            where=path,
            hint="write .nii.gz, or .tif for a stack",
        )
    if lower.endswith(".png") and np.dtype(dtype) not in (np.uint8, np.uint16):
        raise DataError(
            f"a PNG holds no {np.dtype(dtype)}", where=path, hint="write .tif, .npy or .nii.gz"
        )
    if lower.endswith((".nii", ".nii.gz")) and geometry.is_sheared:
        choice = f"a NIfTI file sheared by {geometry.skew:.3g} degrees"
        reason = (
            "tools based on ITK, such as 3D Slicer, ITK-SNAP and SimpleITK, refuse or straighten "
            "it; write .nrrd or .mha for them"
        )
        return (Decision("output", choice, reason, warning=True),)
    return ()


def write_labels(path: Path, labels: LabelMap, *, binary: bool = False) -> None:
    """Write labels; the suffix selects the format.

    NIfTI, NRRD and MetaImage keep the scan's grid, as its header states it where that is of the
    same format; .dcm is a DICOM SEG and .rtstruct.dcm an RT Structure Set on the scan's slices.
    TIFF, PNG and NumPy hold the labels alone, in the scan's own order of slices, rows and columns;
    ``binary`` writes those as 0 and 255.

    Raises
    ------
    ScanError, DataError
        The mask cannot be written under that name: see `check_can_write`; or the file cannot be
        written.
    """
    check_can_write(path, labels.scan)
    lower = path.name.lower()
    if lower.endswith(".rtstruct.dcm"):
        from pleura.formats.dicom.rtstruct import write_rtstruct

        write_rtstruct(path, labels)
    elif lower.endswith(".dcm"):
        from pleura.formats.dicom.seg import write_seg

        write_seg(path, labels)
    else:
        white = binary and not lower.endswith(tuple(_GRIDS))
        array = np.where(labels.labels, 255, 0).astype(np.uint8) if white else labels.labels
        write_volume(path, array, labels.geometry, labels.scan.origin)


def write_volume(
    path: Path, array: AnyArray, geometry: Geometry, origin: Origin | None = None
) -> None:
    """Write an array (slices, rows, columns) on a grid; the suffix says how.

    A file of the format of ``origin`` gets the grid as the header of ``origin`` states it.

    Raises
    ------
    DataError
        The suffix is another one, has no room for a volume, or the file cannot be written.
    """
    lower = path.name.lower()
    for suffix, write in _GRIDS.items():
        if lower.endswith(suffix):
            write(path, array, geometry, origin)
            return
    check_can_hold(path, geometry, array.dtype)
    if len(array) == 1 or lower.endswith(".npy"):
        write_picture(path, array[0] if len(array) == 1 else array)
    else:
        write_atomically(
            path,
            lambda file: tifffile.imwrite(
                file, array, photometric="minisblack", compression="zlib"
            ),
        )
