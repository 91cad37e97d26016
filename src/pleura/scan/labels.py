"""Label maps: labels on the grid of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.scan.bridges import to_highdicom, to_nibabel, to_simpleitk
from pleura.scan.geometry import Geometry
from pleura.scan.origin import Origin
from pleura.scan.scan import Scan

if TYPE_CHECKING:
    from highdicom import Volume
    from nibabel import Nifti1Image
    from SimpleITK import Image as SimpleITKImage

RIGHT, LEFT = 1, 2
BOTH = 1
"""Labels of the right and the left lung, and of both lungs as one structure."""


def labels_by_region(*, sides: bool) -> dict[str, int]:
    """Return the label of each region: ``right`` and ``left``, or ``lung`` without sides."""
    return {"right": RIGHT, "left": LEFT} if sides else {"lung": BOTH}


def count_voxels(labels: NDArray[np.uint8], label: int) -> int:
    """Return the number of voxels with a label, without a boolean array of the whole volume."""
    return sum(int(np.count_nonzero(plane == label)) for plane in labels)


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap:
    """Labels of the lungs on the grid of a scan.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns): 0 outside the lungs; 1 right and 2 left lung if ``sides``,
        else 1 both lungs.
    scan:
        The scan whose grid the labels are on.
    sides:
        Whether the right and the left lung have different labels.
    algorithm:
        Name and version of the software that made the labels; empty if unknown.

    Raises
    ------
    ScanError
        The labels are not uint8 or do not have the shape of the scan.
    """

    labels: NDArray[np.uint8]
    scan: Scan
    sides: bool = True
    algorithm: tuple[str, str] = ("pleura", "")

    def __post_init__(self) -> None:
        if self.labels.shape != self.scan.geometry.shape or self.labels.dtype != np.uint8:
            raise ScanError(
                f"a {self.labels.dtype} mask of shape {self.labels.shape} does not fit "
                f"a scan of shape {self.scan.geometry.shape}",
                where=self.scan.source,
                hint="pass uint8 labels on the grid of the scan",
            )

    def values(self) -> NDArray[np.uint8]:
        """Return the labels, as `Scan.values` returns the voxels of a scan."""
        return self.labels

    def to_simpleitk(self) -> SimpleITKImage:
        """Return the labels (uint8) as a SimpleITK image.

        Raises
        ------
        ScanError
            The grid is sheared.
        """
        return to_simpleitk(self.labels, self.geometry)

    def to_nibabel(self) -> Nifti1Image:
        """Return the labels (uint8) as a nibabel ``Nifti1Image``."""
        return to_nibabel(self.labels, self.geometry)

    def to_highdicom(self) -> Volume:
        """Return the labels (uint8) as a highdicom ``Volume``.

        Raises
        ------
        ScanError
            The grid is sheared.
        """
        return to_highdicom(self.labels, self.geometry, self.origin.frame_of_reference_uid)

    @property
    def origin(self) -> Origin:
        """The source of the scan."""
        return self.scan.origin

    @property
    def source(self) -> Path | None:
        """The file or folder of the scan; None for an object in memory."""
        return self.scan.source

    @property
    def geometry(self) -> Geometry:
        """The grid of the scan."""
        return self.scan.geometry
