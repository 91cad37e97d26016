"""Grids of voxels in the patient, in LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pleura.errors import ScanError

Scalar = TypeVar("Scalar", bound=np.generic)

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's world has the opposite x and y (nifti1.h); the matrix is its own inverse."""

ENDS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Direction letters of the lower and the upper end of each world axis."""

_ROUNDING = 1e-3  # headers hold direction cosines to three to six decimals
_STRAIGHT = 0.1  # mm


@dataclass(frozen=True, eq=False, repr=False)
class Geometry:
    """A grid of voxels in the patient.

    Parameters
    ----------
    shape:
        Slices, rows and columns of the array.
    affine:
        (4, 4); maps (slice, row, column, 1) of a voxel's centre to (x, y, z, 1) in millimetres, x
        to the patient's left, y to the back, z to the head (LPS; DICOM PS3.3 C.7.6.2.1.1). The
        slice axis need not be orthogonal to the others: that is how a tilted gantry scans.
    spacing_known, orientation_known:
        False where the file tells none and ``affine`` is an assumption.

    Raises
    ------
    ScanError
        The shape holds no voxel, or the affine is not finite, is singular, or has no affine's last
        row.
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
                f"a grid of {self.shape} holds no voxel", where=None, hint="give a 3-D array"
            )
        if affine.shape == (4, 4) and not np.isfinite(affine).all():
            raise ScanError(
                "the affine holds NaN or infinite values",
                where=None,
                hint="correct the header of the file",
            )
        if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise ScanError(
                "the affine is no 4x4 matrix with the last row 0 0 0 1",
                where=None,
                hint="correct the header of the file",
            )
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        if steps.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / steps)) < _ROUNDING:
            raise ScanError(
                f"the grid is flat: spacing {_numbers(steps)} mm, or axes in one plane",
                where=None,
                hint="correct spacing and orientation in the header of the file",
            )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from voxel to voxel along slices, rows and columns."""
        a, b, c = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return a, b, c

    @property
    def steps(self) -> tuple[float, float, float]:
        """Spacing, with that of slices along their normal: less where the gantry was tilted."""
        a, b, c = self.spacing
        return a * float(np.cos(np.radians(self.shear))), b, c

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3): unit vectors of slice, row and column index, as columns, in LPS."""
        directions: NDArray[np.float64] = self.affine[:3, :3] / self.spacing
        return directions

    @property
    def voxel_volume(self) -> float:
        """Millilitres of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def shear(self) -> float:
        """Degrees by which the slice axis leans from the slices' normal: the gantry's tilt."""
        along, row, column = self.directions.T
        normal = np.cross(row, column)
        cosine = abs(along @ normal) / float(np.linalg.norm(normal))
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    def straightened(self) -> Geometry:
        """Return the grid with the nearest axes at right angles, and its own spacing and origin.

        The nearest rotation is the orthogonal factor of the polar decomposition, which is what a
        NIfTI qform holds of a sheared affine.
        """
        left, _, right = np.linalg.svd(self.directions)
        affine = self.affine.copy()
        affine[:3, :3] = left @ right * self.spacing
        return replace(self, affine=affine)

    @property
    def is_sheared(self) -> bool:
        """Whether right angles between the axes would move a corner by more than 0.1 mm."""
        return not self.is_close(self.straightened(), _STRAIGHT)

    @property
    def skew(self) -> float:
        """Degrees by which the angle between two axes differs most from a right angle."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return float(np.degrees(np.arcsin(min(1.0, np.abs(cosines).max()))))

    @property
    def orientation(self) -> str:
        """Where slice, row and column index grow to, such as ``SPL`` for common axial scans."""
        order = self.to_canonical()
        letters = [""] * 3
        for world, (axis, flipped) in enumerate(zip(order.axes, order.flipped, strict=True)):
            letters[axis] = ENDS[2 - world][not flipped]
        return "".join(letters)

    def to_canonical(self) -> Reorientation:
        """Return what brings the array nearest to axial slices from foot to head.

        Rows then run from front to back, columns from the patient's right to left.
        """
        cosines = self.directions[::-1]  # rows: z, y, x; columns: slice, row, column
        axes = max(
            permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3))
        )
        flipped = tuple(bool(cosines[i, axis] < 0) for i, axis in enumerate(axes))
        return Reorientation(axes, flipped)  # type: ignore[arg-type]

    def world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Return LPS millimetres (..., 3) of (slice, row, column) indices (..., 3)."""
        points: NDArray[np.float64] = (
            np.asarray(index, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        )
        return points

    def fits(self, other: Geometry) -> bool:
        """Whether a mask on this grid is one of a scan on the other.

        Shapes are equal; places too, to 0.5 mm at the corners, where both files say them.
        """
        placed = self.orientation_known and other.orientation_known
        return self.is_close(other, 0.5) if placed else self.shape == other.shape

    def is_close(self, other: Geometry, tolerance: float = 0.01) -> bool:
        """Tell whether both grids put every corner voxel at the same place, to ``tolerance`` mm."""
        return self.shape == other.shape and bool(np.abs(self._moved(other)).max() <= tolerance)

    def difference(self, other: Geometry) -> str:
        """Describe for a message how this grid differs from another one."""
        both = str(self) if str(self) == str(other) else f"{self}, and {other}"
        if self.shape != other.shape:
            return both
        apart = np.linalg.norm(self._moved(other), axis=1).max()
        return f"their corners lie up to {apart:.3g} mm apart ({both})"

    def _moved(self, other: Geometry) -> NDArray[np.float64]:
        """Return the millimetres (8, 3) from another grid's corner voxels to those of this one."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return self.world(corners) - other.world(corners)

    def __str__(self) -> str:
        slices, rows, columns = self.shape
        size = f"{slices} slice{'' if slices == 1 else 's'} of {rows}x{columns}"
        if not self.spacing_known:
            return size
        thick, high, wide = self.spacing
        return f"{size}; {high:.2f}x{wide:.2f}x{thick:.2f} mm; {self.orientation}"

    def __repr__(self) -> str:
        return f"Geometry({self})"


@dataclass(frozen=True)
class Reorientation:
    """A change of the order and direction of an array's axes: no voxel is interpolated.

    ``axes[i]`` is the axis of the source that becomes axis ``i``, and ``flipped[i]`` tells whether
    it is reversed.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of a source array with the new axes."""
        turned: NDArray[Scalar] = array.transpose(self.axes)[self._steps()]
        return turned

    def undo(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view of an array with the new axes as the source has them."""
        back: NDArray[Scalar] = array[self._steps()].transpose(np.argsort(self.axes))
        return back

    def apply_to(self, geometry: Geometry) -> Geometry:
        """Return the geometry of the array that ``apply`` returns."""
        change = np.zeros((4, 4))  # new index to source index
        change[3, 3] = 1
        for new, (axis, flipped) in enumerate(zip(self.axes, self.flipped, strict=True)):
            change[axis, new] = -1 if flipped else 1
            change[axis, 3] = geometry.shape[axis] - 1 if flipped else 0
        slices, rows, columns = (geometry.shape[axis] for axis in self.axes)
        return Geometry(
            (slices, rows, columns),
            geometry.affine @ change,
            geometry.spacing_known,
            geometry.orientation_known,
        )

    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flipped)


def affine_from_axes(
    origin: ArrayLike, steps: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> NDArray[np.float64]:
    """Return the affine of the first voxel's place and the steps in mm along each index."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(steps, np.float64).T
    affine[:3, 3] = origin
    return affine


def _numbers(values: NDArray[Any]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
