"""The interface of file formats."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from pleura.errors import DataError
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName
from pleura.scan.scan import Decision, Scan

VOXEL_TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
"""dtypes that all formats of volumes can store."""


class Format(Protocol):
    """A file format that scans are read from or label maps and volumes are written to."""

    @property
    def name(self) -> FormatName:
        """The name of the format in `Origin.format`."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of files that are read, in lower case."""

    @property
    def output_suffixes(self) -> tuple[str, ...]:
        """Suffixes of files that are written; empty if writing is not supported."""

    @property
    def stores_geometry(self) -> bool:
        """Whether files store spacing, origin and orientation."""

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read a file as a scan called ``name``, in the values that the file stores.

        Parameters
        ----------
        path, name:
            The file, and the name of the scan.
        labels:
            The file is a mask: palette indices are labels.

        Raises
        ------
        ScanError, DataError
            The file cannot be read as one scan.
        """

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that voxels on the grid of a scan can be written, without writing them.

        Parameters
        ----------
        path, scan:
            The output file, and the scan that defines its grid and origin.
        dtype:
            The dtype of the voxels; None for a label map.

        Returns
        -------
        tuple of Decision
            Properties of the scan that the file does not store or other programs may reject.

        Raises
        ------
        ScanError, DataError
            The format cannot store the voxels.
        """

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write a volume or a label map that `can_write` accepts.

        Raises
        ------
        ScanError, DataError
            The file cannot be written.
        """


def check_voxel_type(
    path: Path, name: str, dtype: DTypeLike | None, supported: tuple[str, ...] = VOXEL_TYPES
) -> None:
    """Refuse voxels of a dtype that a format does not store; None is a label map.

    Raises
    ------
    DataError
        The dtype is not ``supported``.
    """
    requested = np.dtype(np.uint8 if dtype is None else dtype)
    supported_types = [np.dtype(item) for item in supported]
    if requested not in supported_types:
        raise DataError(
            f"{name} files cannot store {requested} voxels",
            where=path,
            hint=f"convert the voxels to one of {', '.join(map(str, supported_types))}",
        )
