"""Files of named structures: DICOM SEG, RT Structure Set, and .seg.nrrd of 3D Slicer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.names import counted
from pleura.scan.geometry import Geometry
from pleura.scan.origin import Origin
from pleura.scan.scan import Decision
from pleura.typing import BoolArray

ALIGNED = 0.2
"""Voxels by which a grid may deviate from another one that counts as the same lattice."""


@dataclass(frozen=True)
class Segment:
    """A structure of a file.

    Parameters
    ----------
    number, name:
        Segment or ROI number, unique in the file, and name.
    codes:
        Codes of its type and side with their schemes, such as ``SCT:3341006``.
    """

    number: int
    name: str
    codes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name or f"number {self.number}"


Drawn = tuple[BoolArray, tuple[Decision, ...]]
"""Voxels (slices, rows, columns) that are inside, and decisions of drawing them."""


@dataclass(frozen=True, eq=False)
class SegmentFile:
    """Structures that can be drawn on a grid; they may overlap.

    Parameters
    ----------
    kind:
        The kind of file, for messages.
    origin:
        The file.
    segments:
        The structures, in the order of the file.
    geometry:
        The grid of the file; None for contours, and for frames that are on no grid.
    draw:
        Draws the union of the structures with some numbers on a grid.
    frame_of_reference_uid, series_uids:
        The frame of reference, and the series that the structures were drawn on; empty if unknown.
    """

    kind: str
    origin: Origin
    segments: tuple[Segment, ...]
    geometry: Geometry | None
    draw: Callable[[Collection[int], Geometry], Drawn]
    frame_of_reference_uid: str = ""
    series_uids: frozenset[str] = frozenset()


def draw_volumes(
    parts: Iterator[tuple[BoolArray, Geometry]], grid: Geometry
) -> tuple[BoolArray, int] | None:
    """Copy voxels to a grid of the same lattice, which may be larger, smaller or reoriented.

    Parameters
    ----------
    parts:
        Arrays (slices, rows, columns) with their grids.
    grid:
        The grid to draw on.

    Returns
    -------
    inside, outside:
        The voxels, and the number of those that are not on the grid; None if a lattice differs.
    """
    drawn, outside = np.zeros(grid.shape, np.bool_), 0
    for voxels, geometry in parts:
        lattice = _lattice(geometry, grid)
        if lattice is None:
            return None
        matrix, offset = lattice
        index = matrix @ np.array(np.nonzero(voxels)) + offset[:, None]
        on_grid = ((index >= 0) & (index < np.array(grid.shape)[:, None])).all(0)
        outside += int(np.count_nonzero(~on_grid))
        drawn[tuple(index[:, on_grid])] = True
    return drawn, outside


def draw_resampled(voxels: BoolArray, geometry: Geometry, grid: Geometry) -> Drawn:
    """Resample voxels to another grid, each from the nearest voxel."""
    to_source = np.linalg.inv(geometry.affine) @ grid.affine
    drawn = np.zeros(grid.shape, np.bool_)
    _, rows, columns = np.indices((1, *grid.shape[1:]))
    in_plane = to_source[:3, 1, None, None] * rows[0] + to_source[:3, 2, None, None] * columns[0]
    limits = np.array(geometry.shape)[:, None, None]
    for i, plane in enumerate(drawn):
        start = to_source[:3, 0] * i + to_source[:3, 3]
        index = np.floor(in_plane + start[:, None, None] + 0.5).astype(np.int64)
        on_grid = ((index >= 0) & (index < limits)).all(0)
        plane[on_grid] = voxels[tuple(index[:, on_grid])]
    reason = f"the grids differ: {geometry.describe_difference(grid)}"
    return drawn, (Decision("mask", "resampled to the nearest voxel", reason, warning=True),)


def enclosing_grid(first: Geometry, second: Geometry) -> Geometry | None:
    """Return the smallest grid on the lattice of the first one that contains both.

    Returns None if their lattices differ.
    """
    lattice = _lattice(second, first)
    if lattice is None:
        return None
    matrix, offset = lattice
    corners = matrix @ _corners(second) + offset[:, None]
    low = np.minimum(corners.min(1), 0)
    high = np.maximum(corners.max(1), np.array(first.shape) - 1)
    affine = first.affine.copy()
    affine[:3, 3] = first.index_to_world(low)
    slices, rows, columns = (int(n) for n in high - low + 1)
    return Geometry((slices, rows, columns), affine)


def outside_decisions(count: int, noun: str) -> tuple[Decision, ...]:
    """Return a warning about a number of voxels or contours that are not on the grid."""
    if not count:
        return ()
    choice = f"{counted(count, noun)} ignored"
    return (Decision("mask", choice, "outside of the scan", warning=True),)


def require_drawn(inside: BoolArray, kind: str, origin: Origin) -> None:
    """Refuse structures of which nothing is on the grid, though they are not empty.

    Raises
    ------
    DataError
        No voxel is inside.
    """
    if not inside.any():
        raise DataError(
            f"the {kind} is outside of the scan", where=origin.path, hint="pass a mask of this scan"
        )


def _lattice(
    geometry: Geometry, grid: Geometry
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the whole-numbered map of indices to those of a grid; None if there is none."""
    to_grid = np.linalg.inv(grid.affine) @ geometry.affine
    matrix, offset = np.rint(to_grid[:3, :3]), np.rint(to_grid[:3, 3])
    used = [axis for axis in range(3) if geometry.shape[axis] > 1]
    if (np.abs(matrix[:, used]).sum(0) != 1).any():
        return None
    corners = _corners(geometry)
    exact = to_grid[:3, :3] @ corners + to_grid[:3, 3:]
    if np.abs(exact - matrix @ corners - offset[:, None]).max() > ALIGNED:
        return None
    return matrix.astype(np.int64), offset.astype(np.int64)


def _corners(geometry: Geometry) -> NDArray[np.int64]:
    """Return the indices (3, 8) of the corner voxels."""
    return np.array(list(product(*[(0, n - 1) for n in geometry.shape]))).T
