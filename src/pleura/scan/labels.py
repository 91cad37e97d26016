"""Label maps: labels on the grid of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.scan.bit_field import BIT_DTYPE, MAX_OVERLAPPING, has_label
from pleura.scan.bridges import to_highdicom, to_nibabel, to_simpleitk
from pleura.scan.geometry import Geometry
from pleura.scan.origin import Origin
from pleura.scan.scan import Scan
from pleura.typing import AnyArray, BoolArray

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
    overlap:
        Whether its voxels may belong to other classes, too; equal for all classes of a model.
    """

    value: int
    name: str
    code: tuple[str, str, str] | None = None
    threshold: float = 0.5
    clean: bool = False
    overlap: bool = False


def may_overlap(classes: Sequence[Label]) -> bool:
    """Return whether voxels may belong to several of the classes."""
    return any(label.overlap for label in classes)


def label_dtype(classes: Sequence[Label]) -> type[np.uint8 | np.uint16]:
    """Return the dtype of the labels of classes in a `LabelMap`."""
    return BIT_DTYPE if may_overlap(classes) else np.uint8


def class_labels(classes: Sequence[Label]) -> dict[str, int]:
    """Return the label of each class in targets: 1 plus its index, or its bit if it may overlap."""
    overlap = may_overlap(classes)
    return {label.name: 1 << i if overlap else i + 1 for i, label in enumerate(classes)}


def labels_by_region(*, sides: bool) -> dict[str, int]:
    """Return the label of each region: ``right`` and ``left``, or ``lung`` without sides."""
    return {"right": RIGHT, "left": LEFT} if sides else {"lung": BOTH}


def count_voxels(labels: AnyArray, label: int) -> int:
    """Return the number of voxels with a label, without a boolean array of the whole volume."""
    return sum(int(np.count_nonzero(has_label(plane, label))) for plane in labels)


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap:
    """Labels on the grid of a scan: of the lungs, or of other classes.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns): 0 outside the lungs; 1 right and 2 left lung if ``sides``,
        else 1 both lungs. With ``classes``, the value of a class, or 0. With classes that may
        overlap, uint16: the sum of the bits ``1 << i`` of the classes of a voxel, where i is the
        index of a class in ``classes``.
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
        The labels have another dtype, or do not have the shape of the scan; or more classes may
        overlap than a voxel has bits.
    """

    labels: NDArray[Any]
    scan: Scan
    sides: bool = True
    algorithm: tuple[str, str] = ("pleura", "")
    classes: tuple[Label, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.overlap and len(self.classes) > MAX_OVERLAPPING:
            raise ScanError(
                f"{len(self.classes)} classes may overlap; a mask has bits for {MAX_OVERLAPPING}",
                where=self.scan.source,
                hint="split the classes into several masks",
            )
        dtype = np.dtype(BIT_DTYPE if self.overlap else np.uint8)
        if self.labels.shape != self.scan.geometry.shape or self.labels.dtype != dtype:
            raise ScanError(
                f"a {self.labels.dtype} mask of shape {self.labels.shape} does not fit "
                f"a scan of shape {self.scan.geometry.shape}",
                where=self.scan.source,
                hint=f"pass {dtype} labels on the grid of the scan",
            )

    @property
    def overlap(self) -> bool:
        """Whether voxels may belong to several classes."""
        return may_overlap(self.classes)

    def inside(self, label: int) -> BoolArray:
        """Return which voxels have a label, one of the values of `regions`."""
        return has_label(self.labels, label)

    @property
    def regions(self) -> dict[str, int]:
        """Label by region: names of the classes, or ``right`` and ``left``, or ``lung``.

        The label of a class that may overlap is its bit in ``labels``.
        """
        if self.overlap:
            return class_labels(self.classes)
        if self.classes:
            return {label.name: label.value for label in self.classes}
        return labels_by_region(sides=self.sides)

    def values(self) -> NDArray[Any]:
        """Return the labels, as `Scan.values` returns the voxels of a scan."""
        return self.labels

    def to_simpleitk(self) -> SimpleITKImage:
        """Return the labels as a SimpleITK image.

        Raises
        ------
        ScanError
            The grid is sheared.
        """
        return to_simpleitk(self.labels, self.geometry)

    def to_nibabel(self) -> Nifti1Image:
        """Return the labels as a nibabel ``Nifti1Image``."""
        return to_nibabel(self.labels, self.geometry)

    def to_highdicom(self) -> Volume:
        """Return the labels as a highdicom ``Volume``.

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
