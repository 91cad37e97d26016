"""The sample scan that is part of the package."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import IO

from pleura.errors import DataError
from pleura.files.atomic import write_atomically

SAMPLE = Path(__file__).parents[1] / "sample"
"""Folder of the sample: ct.nii.gz, the reference mask lungs.nii.gz, and their source."""

_NAMES = ("ct.nii.gz", "lungs.nii.gz", "README.md")


def sample_scan() -> Path:
    """Return the path of a small chest CT that is part of the package.

    It has 65 slices of 128x128 in HU, from the Lung CT Segmentation Challenge 2017 (CC BY 3.0).

    Returns
    -------
    Path
        A NIfTI file; the reference mask lungs.nii.gz is in the same folder.
    """
    return SAMPLE / _NAMES[0]


def copy_sample(folder: Path) -> list[Path]:
    """Copy the sample scan, its reference mask and their description into a folder.

    Raises
    ------
    DataError
        One of the files exists, or the folder cannot be written.
    """
    targets = [folder / name for name in _NAMES]
    for target in targets:
        if target.exists():
            raise DataError("the file already exists", where=target, hint="choose another folder")
    for target in targets:
        write_atomically(target, partial(_write, (SAMPLE / target.name).read_bytes()))
    return targets


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
