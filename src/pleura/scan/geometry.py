"""Grids of voxels in patient coordinates (LPS, in millimetres)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pleura.errors import ScanError
from pleura.names import counted

Scalar = TypeVar("Scalar", bound=np.generic)

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Conversion between DICOM and NIfTI coordinates, whose x and y axes are opposite (nifti1.h)."""

AXIS_ENDS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Direction letters of the lower and the upper end of each world axis."""

MAX_LENGTH = 1e9
"""Lengths and coordinates in headers, in mm, are smaller; arithmetic on them cannot overflow."""

_MIN_DETERMINANT = 1e-3  # headers have direction cosines with three to six decimals
_MAX_SHEAR = 0.1  # mm


def check_lengths(*values: ArrayLike) -> None:
    """Check numbers of a header before they are used in arithmetic.

    Raises
    ------
    ScanError
        A number is NaN, or not below `MAX_LENGTH`.
    """
    for value in values:
        if not (np.abs(np.asarray(value, np.float64)) < MAX_LENGTH).all():
            raise ScanError(
                "the grid contains NaN, infinite or impossibly large numbers",
                where=None,
                hint="correct the header of the file",
            )


@dataclass(frozen=True, eq=False, repr=False)
class Geometry:
    """A grid of voxels in patient coordinates.

    Parameters
    ----------
    shape:
        Slices, rows and columns of the array.
    affine:
        (4, 4); maps (slice, row, column, 1) of a voxel's centre to (x, y, z, 1) in millimetres, x
        to the patient's left, y to the back, z to the head (LPS; DICOM PS3.3 C.7.6.2.1.1). The
        slice axis need not be orthogonal to the others, as in scans with a tilted gantry.
    spacing_known, orientation_known:
        False if the file does not define it and ``affine`` is an assumption.

    Raises
    ------
    ScanError
        The shape is not three positive numbers, or the matrix is not finite, not affine or
        singular.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    spacing_known: bool = True
    orientation_known: bool = True

    def __post_init__(self) -> None:
        affine = np.array(self.affine, np.float64)
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ScanError(
                f"a grid of shape {self.shape} has no voxels", where=None, hint="pass a 3-D array"
            )
        check_lengths(affine)
        if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise ScanError(
                "the affine is not a 4x4 matrix with the last row 0 0 0 1",
                where=None,
                hint="correct the header of the file",
            )
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        if steps.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / steps)) < _MIN_DETERMINANT:
            raise ScanError(
                f"the grid is singular: spacing {_format_spacing(steps)} mm, or axes in one plane",
                where=None,
                hint="correct spacing and orientation in the header of the file",
            )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances in mm between neighbouring slices, rows and columns, along the axes."""
        a, b, c = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return a, b, c

    @property
    def orthogonal_spacing(self) -> tuple[float, float, float]:
        """Like ``spacing``, but with the distance of slices along the slice normal."""
        a, b, c = self.spacing
        return a * float(np.cos(np.radians(self.gantry_tilt))), b, c

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors along slices, rows and columns in LPS: the columns of a (3, 3) matrix."""
        directions: NDArray[np.float64] = self.affine[:3, :3] / self.spacing
        return directions

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def gantry_tilt(self) -> float:
        """Angle in degrees between the slice axis and the slice normal."""
        along, row, column = self.directions.T
        normal = np.cross(row, column)
        cosine = abs(along @ normal) / float(np.linalg.norm(normal))
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    def orthogonalized(self) -> Geometry:
        """Return the grid with the nearest orthogonal axes, and the same spacing and origin.

        The axes are the orthogonal factor of the polar decomposition, which nibabel stores as the
        NIfTI qform of a sheared affine.
        """
        left, _, right = np.linalg.svd(self.directions)
        affine = self.affine.copy()
        affine[:3, :3] = left @ right * self.spacing
        return replace(self, affine=affine)

    @property
    def is_sheared(self) -> bool:
        """Whether orthogonal axes would move a corner by more than 0.1 mm."""
        return not self.is_close(self.orthogonalized(), _MAX_SHEAR)

    @property
    def skew(self) -> float:
        """Largest deviation of the angle between two axes from a right angle, in degrees."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return float(np.degrees(np.arcsin(min(1.0, np.abs(cosines).max()))))

    @property
    def orientation(self) -> str:
        """Directions in which the slice, row and column indices increase, for example ``SPL``."""
        order = self.to_canonical()
        letters = [""] * 3
        for world, (axis, flipped) in enumerate(zip(order.axes, order.flipped, strict=True)):
            letters[axis] = AXIS_ENDS[2 - world][not flipped]
        return "".join(letters)

    def to_canonical(self) -> Reorientation:
        """Return the reorientation to the nearest axial orientation.

        Slices then run from foot to head, rows from front to back, and columns from the patient's
        right to left.
        """
        cosines = self.directions[::-1]  # rows: z, y, x; columns: slice, row, column
        axes = max(
            permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3))
        )
        flipped = tuple(bool(cosines[i, axis] < 0) for i, axis in enumerate(axes))
        return Reorientation(axes, flipped)  # type: ignore[arg-type]

    def index_to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Return LPS coordinates (..., 3) in mm of (slice, row, column) indices (..., 3)."""
        points: NDArray[np.float64] = (
            np.asarray(index, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        )
        return points

    def matches(self, other: Geometry) -> bool:
        """Return whether a mask on this grid can belong to a scan on another one.

        The shapes must be equal, and the corners within 0.5 mm if both orientations are known.
        """
        known = self.orientation_known and other.orientation_known
        return self.is_close(other, 0.5) if known else self.shape == other.shape

    def is_close(self, other: Geometry, tolerance: float = 0.01) -> bool:
        """Return whether shapes are equal and corner voxels are within ``tolerance`` mm."""
        return self.shape == other.shape and bool(
            np.abs(self._corner_offsets(other)).max() <= tolerance
        )

    def describe_difference(self, other: Geometry) -> str:
        """Describe how this grid differs from another one, for messages."""
        grids = str(self) if str(self) == str(other) else f"{self}, and {other}"
        if self.shape != other.shape:
            return grids
        distance = np.linalg.norm(self._corner_offsets(other), axis=1).max()
        return f"their corners are up to {distance:.3g} mm apart ({grids})"

    def _corner_offsets(self, other: Geometry) -> NDArray[np.float64]:
        """Return the vectors (8, 3) in mm from the corner voxels of another grid to these."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return self.index_to_world(corners) - other.index_to_world(corners)

    def __str__(self) -> str:
        slices, rows, columns = self.shape
        size = f"{counted(slices, 'slice')} of {rows}x{columns}"
        if not self.spacing_known:
            return size
        slice_spacing, row_spacing, column_spacing = self.spacing
        spacing = f"{row_spacing:.2f}x{column_spacing:.2f}x{slice_spacing:.2f} mm"
        return f"{size}; {spacing}; {self.orientation}"

    def __repr__(self) -> str:
        return f"Geometry({self})"


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flip of the axes of an array, without interpolation.

    Parameters
    ----------
    axes:
        ``axes[i]`` is the axis of the source that becomes axis ``i``.
    flipped:
        Whether each axis of the result is reversed.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of a source array with the new axes."""
        reoriented: NDArray[Scalar] = array.transpose(self.axes)[self._slices()]
        return reoriented

    def undo(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of an array with the new axes, in the axes of the source."""
        restored: NDArray[Scalar] = array[self._slices()].transpose(np.argsort(self.axes))
        return restored

    def apply_to(self, geometry: Geometry) -> Geometry:
        """Return the geometry of the array that ``apply`` returns."""
        to_source = np.zeros((4, 4))  # maps indices of the new array to those of the source
        to_source[3, 3] = 1
        for new, (axis, flipped) in enumerate(zip(self.axes, self.flipped, strict=True)):
            to_source[axis, new] = -1 if flipped else 1
            to_source[axis, 3] = geometry.shape[axis] - 1 if flipped else 0
        slices, rows, columns = (geometry.shape[axis] for axis in self.axes)
        return Geometry(
            (slices, rows, columns),
            geometry.affine @ to_source,
            geometry.spacing_known,
            geometry.orientation_known,
        )

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flipped)


def affine_from_axes(
    origin: ArrayLike, steps: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> NDArray[np.float64]:
    """Return the affine of the position of the first voxel and the step in mm along each axis."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(steps, np.float64).T
    affine[:3, 3] = origin
    return affine


def _format_spacing(values: NDArray[Any]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
