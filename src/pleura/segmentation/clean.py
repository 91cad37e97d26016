"""From lung voxels to two lungs: specks away, holes filled, right told from left.

All of it on canonical axial slices: from foot to head, rows from front to back, columns from the
patient's right to left.
"""

from __future__ import annotations

import cc3d
import cv2
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.scan.geometry import Geometry
from pleura.scan.scan import LEFT, RIGHT

Flags = NDArray[np.bool_]
Labels = NDArray[np.uint8]

SMALLEST = 0.01
"""Of the largest piece: what is smaller is no lung."""

_SIDE = 0.15  # of all lung: what a piece has at least, to be a side of its own
_EROSIONS = (1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0, 12.0)  # mm
_APART = 0.3  # of the body's width: farther apart are no two pieces of one lung
_BODY = -500  # HU


def keep_lungs(lung: Flags) -> Flags:
    """Drop pieces below ``SMALLEST`` of the largest, and fill what lung surrounds in a slice."""
    pieces = cc3d.connected_components(lung, connectivity=26, out_dtype=np.uint32)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = sizes >= max(SMALLEST * sizes.max(), 1)
    return _fill_holes(lung if kept[1:].all() else kept[pieces])


def tell_sides(lung: Flags, hu: NDArray[np.int16], geometry: Geometry) -> Labels:
    """Label right and left lung.

    Pieces go to the nearer of the two largest. Where these are one piece, it is parted by eroding
    it until two large ones are left. A lone lung is told by the middle of the body.
    """
    labels = np.zeros(lung.shape, np.uint8)
    if not lung.any():
        return labels
    box = tuple(
        slice(int(hit[0]), int(hit[-1]) + 1)
        for hit in (np.flatnonzero(lung.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    inside = lung[box]
    pieces = cc3d.connected_components(inside, connectivity=26, out_dtype=np.uint32)
    statistics = cc3d.statistics(pieces)
    two = _two_large(statistics["voxel_counts"], int(inside.sum()))
    columns = statistics["centroids"][:, 2]
    middle, width = _body(hu)
    if two is not None and _two_sided(columns[list(two)] + box[2].start, middle, width):
        right, left = sorted(columns[list(two)])
        side = np.where(columns < (right + left) / 2, RIGHT, LEFT).astype(np.uint8)
        side[0] = 0
        labels[box] = side[pieces]
        return labels
    parted = _part(inside, geometry)
    if parted is not None:
        centres = np.array([np.nonzero((parted == s) & inside)[2].mean() for s in (RIGHT, LEFT)])
        if not _two_sided(centres + box[2].start, middle, width):
            parted = None
    if parted is None:
        centre = float(np.nonzero(inside)[2].mean()) + box[2].start
        parted = np.full(inside.shape, RIGHT if centre < middle else LEFT, np.uint8)
    labels[box] = parted * inside
    return labels


def _two_large(sizes: NDArray[np.unsignedinteger], total: int) -> tuple[int, int] | None:
    """Return the two largest pieces if both are large enough to be a lung."""
    if len(sizes) < 3:
        return None
    order = 1 + np.argsort(sizes[1:])[::-1]
    first, second = int(order[0]), int(order[1])
    return (first, second) if sizes[second] >= _SIDE * total else None


def _part(lung: Flags, geometry: Geometry) -> Labels | None:
    """Return the side of each voxel of lungs that touch, None where there is only one lung.

    On every second row and column: the cut runs where lungs touch, through a thin septum.
    """
    coarse = np.ascontiguousarray(lung[:, ::2, ::2])
    z, y, x = geometry.spacing
    spacing = z, 2 * y, 2 * x
    depth = edt.edt(coarse, anisotropy=spacing, black_border=False, parallel=0)
    for erosion in _EROSIONS:
        pieces = cc3d.connected_components(depth > erosion, connectivity=6, out_dtype=np.uint32)
        statistics = cc3d.statistics(pieces)
        sizes = statistics["voxel_counts"]
        two = _two_large(sizes, int(sizes[1:].sum()))
        if two is not None:
            right, left = sorted(two, key=lambda piece: statistics["centroids"][piece, 2])
            away = [
                edt.edt(pieces != piece, anisotropy=spacing, parallel=0) for piece in (right, left)
            ]
            sides = np.where(away[0] <= away[1], RIGHT, LEFT).astype(np.uint8)
            fine = sides.repeat(2, 1).repeat(2, 2)
            return fine[:, : lung.shape[1], : lung.shape[2]]
    return None


def _two_sided(columns: NDArray[np.floating], middle: float, width: float) -> bool:
    """Tell whether two pieces are two lungs, and not one lung in two pieces."""
    apart = float(np.ptp(columns)) > _APART * width
    return apart or bool(columns.min() < middle < columns.max())


def _body(hu: NDArray[np.int16]) -> tuple[float, float]:
    """Return the body's middle column and its width in columns, medians over slices."""
    columns: NDArray[np.int64] = (hu[:, ::4, ::4] > _BODY).sum(1)
    columns = columns[columns.any(1)]
    if not len(columns):
        return hu.shape[2] / 2, float(hu.shape[2])
    position = 4 * np.arange(columns.shape[1])
    middle = np.median((columns * position).sum(1) / columns.sum(1))
    return float(middle), float(np.median(4 * (columns > 0).sum(1)))


def _fill_holes(lung: Flags) -> Flags:
    filled = lung.copy()
    for i in np.flatnonzero(lung.any((1, 2))):
        outside = np.pad(~lung[i], 1, constant_values=True).astype(np.uint8)
        cv2.floodFill(outside, None, (0, 0), 2)
        filled[i] |= outside[1:-1, 1:-1] == 1
    return filled
