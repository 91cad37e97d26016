"""Writing label maps and volumes; the suffix of the file selects the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from pleura.formats.registry import output_format
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LabelMap
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.typing import AnyArray


def check_can_write(path: Path, scan: Scan, dtype: DTypeLike | None = None) -> tuple[Decision, ...]:
    """Check before inference that a mask or volume of a scan can be written under a name.

    Parameters
    ----------
    path, scan:
        The output file, and the scan whose grid it gets.
    dtype:
        The dtype of the voxels; None for a label map.

    Returns
    -------
    tuple of Decision
        What the file does not keep of the scan, and what readers may refuse.

    Raises
    ------
    DataError
        No format has this suffix, or the format cannot store the grid or the dtype.
    ScanError
        A DICOM object cannot refer to the slices of the scan.
    """
    return output_format(path).can_write(path, scan, dtype)


def write_labels(path: Path, labels: LabelMap, *, binary: bool = False) -> None:
    """Write labels; the suffix selects the format.

    NIfTI, NRRD and MetaImage keep the grid of the scan, as its header states it if that has the
    same format. A .dcm file is a DICOM SEG and .rtstruct.dcm an RT Structure Set that refer to the
    slices of the scan. TIFF, PNG and NumPy files hold the labels alone, in the order of slices,
    rows and columns of the scan; ``binary`` writes these as 0 and 255.

    Raises
    ------
    ScanError, DataError
        `check_can_write` refuses the name, or the file cannot be written.
    """
    found = output_format(path)
    found.can_write(path, labels.scan, None)
    if binary and not found.stores_geometry:
        white = np.where(labels.labels, np.uint8(255), np.uint8(0))
        found.write(path, _volume(path, white, labels.geometry, labels.origin))
    else:
        found.write(path, labels)


def write_volume(
    path: Path, array: AnyArray, geometry: Geometry, origin: Origin = IN_MEMORY
) -> None:
    """Write an array (slices, rows, columns) on a grid; the suffix selects the format.

    A file of the format of ``origin`` gets the grid as the header of ``origin`` states it.

    Raises
    ------
    DataError
        `check_can_write` refuses the name, or the file cannot be written.
    """
    volume = _volume(path, array, geometry, origin)
    found = output_format(path)
    found.can_write(path, volume, array.dtype)
    found.write(path, volume)


def _volume(path: Path, array: AnyArray, geometry: Geometry, origin: Origin) -> Scan:
    return Scan(path.name, geometry, ReadOnce(lambda: array), origin)
