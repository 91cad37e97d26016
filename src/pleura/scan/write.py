"""Masks out, in the format that a name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import tifffile

from pleura.errors import DataError
from pleura.scan import metaimage, nifti, nrrd
from pleura.scan.pictures import TIFF, write_atomically, write_picture
from pleura.scan.scan import Mask

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".rtstruct.dcm", ".dcm", *TIFF, ".png", ".npy")


def write_mask(path: Path, mask: Mask, *, binary: bool = False) -> None:
    """Write a mask; the suffix says how.

    NIfTI, NRRD and MetaImage keep the scan's grid; .dcm is a DICOM SEG and .rtstruct.dcm an RT
    Structure Set on the scan's slices. TIFF, PNG and NumPy hold the labels alone, in the scan's own
    order of slices, rows and columns.
    ``binary`` writes those as 0 and 255.

    Raises
    ------
    DataError
        The suffix is another one, has no room for a volume, or the file cannot be written.
    """
    lower = path.name.lower()
    if lower.endswith((".nii", ".nii.gz")):
        nifti.write_nifti(path, mask)
    elif lower.endswith(".nrrd"):
        nrrd.write_nrrd(path, mask)
    elif lower.endswith(".mha"):
        metaimage.write_metaimage(path, mask)
    elif lower.endswith(".rtstruct.dcm"):
        from pleura.scan.dicom.rtstruct import write_rtstruct

        write_rtstruct(path, mask)
    elif lower.endswith(".dcm"):
        from pleura.scan.dicom.seg import write_seg

        write_seg(path, mask)
    elif lower.endswith((*TIFF, ".png", ".npy")):
        _write_array(
            path, np.where(mask.labels, 255, 0).astype(np.uint8) if binary else mask.labels
        )
    else:
        raise DataError(
            f"a mask cannot be written as '{path.suffix}'",
            where=path,
            fix=f"choose a name that ends in {', '.join(SUFFIXES)}",
        )


def _write_array(path: Path, labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    single = labels.shape[0] == 1
    if single or path.suffix.lower() == ".npy":
        write_picture(path, labels[0] if single else labels)
    elif path.suffix.lower() == ".png":
        raise DataError(
            f"a PNG holds one slice, and this mask has {labels.shape[0]}",
            where=path,
            fix="write .nii.gz, or .tif for a stack",
        )
    else:
        write_atomically(path, lambda file: _write_stack(file, labels))


def _write_stack(file: IO[bytes], labels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    tifffile.imwrite(file, labels, photometric="minisblack", compression="zlib")
