"""Label maps: labels on the grid of a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
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


MAX_LABELS = 31
"""Largest number of different labels in a file."""


@dataclass(frozen=True)
class Label:
    """A class of a model with several classes.

    Parameters
    ----------
    value:
        Value of its voxels in masks, 1 to 255.
    name:
        Name, such as ``lesion``.
    code:
        DICOM code of the structure: coding scheme, code value and meaning; None if unknown.
    threshold:
        Smallest probability of a voxel that is either of this class or background; see
        `pleura.engine.classes.choose_labels`.
    clean:
        Whether small components are removed and holes are filled.
    """

    value: int
    name: str
    code: tuple[str, str, str] | None = None
    threshold: float = 0.5
    clean: bool = False


def labels_by_region(*, sides: bool) -> dict[str, int]:
    """Return the label of each region: ``right`` and ``left``, or ``lung`` without sides."""
    return {"right": RIGHT, "left": LEFT} if sides else {"lung": BOTH}


def count_voxels(labels: NDArray[np.uint8], label: int) -> int:
    """Return the number of voxels with a label, without a boolean array of the whole volume."""
    return sum(int(np.count_nonzero(plane == label)) for plane in labels)


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap:
    """Labels on the grid of a scan: of the lungs, or of other classes.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns): 0 outside the lungs; 1 right and 2 left lung if ``sides``,
        else 1 both lungs. With ``classes``, the value of a class, or 0.
    scan:
        The scan whose grid the labels are on.
    sides:
        Whether the right and the left lung have different labels.
    algorithm:
        Name and version of the software that made the labels; empty if unknown.
    classes:
        The classes of a model with several classes; empty if the labels are lungs.

    Raises
    ------
    ScanError
        The labels are not uint8 or do not have the shape of the scan.
    """

    labels: NDArray[np.uint8]
    scan: Scan
    sides: bool = True
    algorithm: tuple[str, str] = ("pleura", "")
    classes: tuple[Label, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.labels.shape != self.scan.geometry.shape or self.labels.dtype != np.uint8:
            raise ScanError(
                f"a {self.labels.dtype} mask of shape {self.labels.shape} does not fit "
                f"a scan of shape {self.scan.geometry.shape}",
                where=self.scan.source,
                hint="pass uint8 labels on the grid of the scan",
            )

    @property
    def regions(self) -> dict[str, int]:
        """Label by region: names of the classes, or ``right`` and ``left``, or ``lung``."""
        if self.classes:
            return {label.name: label.value for label in self.classes}
        return labels_by_region(sides=self.sides)

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
