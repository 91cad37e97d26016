"""Writing label maps and volumes; the suffix of the file selects the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from pleura.formats.dicom.format import DICOM
from pleura.formats.registry import output_format, scan_name
from pleura.formats.seg_nrrd import SEG_NRRD
from pleura.names import safe_name
from pleura.scan.geometry import Geometry
from pleura.scan.labels import Label, LabelMap, may_overlap
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.typing import AnyArray


def check_can_write(path: Path, scan: Scan, dtype: DTypeLike | None = None) -> tuple[Decision, ...]:
    """Check before inference that a mask or volume of a scan can be written under a name.

    Parameters
    ----------
    path, scan:
        The output file, and the scan that defines its grid.
    dtype:
        The dtype of the voxels; None for a label map.

    Returns
    -------
    tuple of Decision
        Properties of the scan that the file does not store or that other programs may reject.

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

    NIfTI, NRRD and MetaImage files have the grid of the scan; if the scan has the same format, the
    grid fields of its header are copied. A .dcm file is a DICOM SEG and an .rtstruct.dcm file an RT
    Structure Set; both refer to the slices of the scan. TIFF, PNG and NumPy files contain only the
    labels, in the order of slices, rows and columns of the scan; with ``binary``, as 0 and 255.
    Classes that may overlap are in one file if it is a DICOM or .seg.nrrd file, else in the files
    of `label_files`, of 0 and 1.

    Raises
    ------
    ScanError, DataError
        `check_can_write` refuses the name, or the file cannot be written.
    """
    file_format = output_format(path)
    file_format.can_write(path, labels.scan, None)
    if labels.overlap and file_format not in (DICOM, SEG_NRRD):
        for label, file in zip(labels.classes, label_files(path, labels.classes), strict=True):
            inside = labels.inside(labels.regions[label.name]).view(np.uint8)
            one = replace(label, value=1, overlap=False)
            single = LabelMap(inside, labels.scan, False, labels.algorithm, classes=(one,))
            write_labels(file, single, binary=binary)
    elif binary and not file_format.stores_geometry:
        values = np.where(labels.labels, np.uint8(255), np.uint8(0))
        file_format.write(path, _volume(path, values, labels.geometry, labels.origin))
    else:
        file_format.write(path, labels)


def label_files(path: Path, classes: Sequence[Label]) -> list[Path]:
    """Return the files that `write_labels` writes for classes: one each, or a single one.

    Formats with one value per voxel have one file per class that may overlap, with the name of the
    class before the suffix: ``ct_lesion.nii.gz``.
    """
    if not may_overlap(classes) or output_format(path) in (DICOM, SEG_NRRD):
        return [path]
    stem = scan_name(path)
    suffix = path.name[len(stem) :]
    return [path.with_name(f"{stem}_{safe_name(_word(c.name))}{suffix}") for c in classes]


def _word(name: str) -> str:
    return "_".join(name.replace("/", " ").split())


def write_volume(
    path: Path, array: AnyArray, geometry: Geometry, origin: Origin = IN_MEMORY
) -> None:
    """Write an array (slices, rows, columns) on a grid; the suffix selects the format.

    If ``origin`` has the same format, the grid fields of its header are copied.

    Raises
    ------
    DataError
        `check_can_write` refuses the name, or the file cannot be written.
    """
    volume = _volume(path, array, geometry, origin)
    file_format = output_format(path)
    file_format.can_write(path, volume, array.dtype)
    file_format.write(path, volume)


def _volume(path: Path, array: AnyArray, geometry: Geometry, origin: Origin) -> Scan:
    return Scan(path.name, geometry, ReadOnce(lambda: array), origin)
