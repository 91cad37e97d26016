"""From lung voxels to two lungs: specks and gas away, holes filled, right told from left.

All of it on canonical axial slices: from foot to head, rows from front to back, columns from the
patient's right to left. HU are needed at every ``STEP``-th row and column only, which keeps a large
scan from standing twice in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import cv2
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.typing import BoolArray

STEP = 4
"""Rows and columns from one sampled HU to the next."""

SMALLEST = 0.01
"""Of the largest piece: what is smaller is no lung."""

GAS, GAS_EDGE = -960.0, -930.0
"""HU: a piece is gas in bowel, airway or around the body where its median lies below the first and
three quarters of it below the second. Lung holds vessels, also where it is emphysematous."""

SMALL_HOLE, LONE_HOLE = 0.0005, 0.003
"""Of a slice: holes that are filled, such as vessels; in a slice that stands alone the second. What
lung surrounds on all sides of a volume is filled whatever its size."""

_SIDE = 0.15  # of all lung: what a piece has at least, to be a side of its own
_EROSIONS = (1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0, 12.0)  # mm
_APART = 0.3  # of the body's width: farther apart are no two pieces of one lung
_BODY = -500  # HU


def keep_lungs(
    lung: BoolArray, sampled: NDArray[np.int16], *, calibrated: bool = True
) -> BoolArray:
    """Drop gas and pieces below ``SMALLEST`` of the largest, and fill holes.

    ``sampled`` are HU at every ``STEP``-th row and column. ``calibrated`` False leaves gas in:
    values of grey pictures do not tell it from lung.
    """
    box = box_of(lung)
    if box is None:
        return lung
    pieces, count = cc3d.connected_components(
        lung[box], connectivity=26, out_dtype=np.uint32, return_N=True
    )
    sizes = np.zeros(count + 1, np.int64)
    for one in pieces:  # slice by slice, since bincount makes 64-bit numbers of what it counts
        sizes += np.bincount(one.ravel(), minlength=count + 1)
    sizes[0] = 0
    if calibrated:
        for piece, values in _sampled_pieces(pieces, box, sampled, _large(sizes)):
            if _is_gas(values):
                sizes[piece] = 0
    large = _large(sizes)
    kept = np.zeros(lung.shape, np.bool_)
    kept[box] = _fill_holes(lung[box] if large[1:].all() else large[pieces], lung[0].size)
    return kept


def _large(sizes: NDArray[np.int64]) -> BoolArray:
    return np.asarray(sizes >= max(SMALLEST * sizes.max(), 1))


def _sampled_pieces(
    pieces: NDArray[np.unsignedinteger],
    box: tuple[slice, ...],
    sampled: NDArray[np.int16],
    wanted: BoolArray,
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Yield the wanted pieces with their HU, where any is sampled."""
    _, row, column = (-(side.start // -STEP) for side in box)  # the first sample inside the box
    at = pieces[:, STEP * row - box[1].start :: STEP, STEP * column - box[2].start :: STEP]
    values = sampled[box[0], row : row + at.shape[1], column : column + at.shape[2]]
    for piece in np.flatnonzero(wanted):
        inside = values[at == piece]
        if len(inside):
            yield int(piece), inside


def box_of(lung: BoolArray) -> tuple[slice, ...] | None:
    """Return the box around all that is set, None where nothing is."""
    if not lung.any():
        return None
    hits = (np.flatnonzero(lung.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)


def _is_gas(values: NDArray[np.int16]) -> bool:
    some = values[:: max(1, len(values) // 10_000)]
    middle, upper = np.percentile(some, (50, 75))
    return bool(middle < GAS and upper < GAS_EDGE)


def tell_sides(
    lung: BoolArray, sampled: NDArray[np.int16], geometry: Geometry, threads: int = 1
) -> NDArray[np.uint8]:
    """Label right and left lung; ``sampled`` are HU at every ``STEP``-th row and column.

    Pieces go to the nearer of the two largest. Where these are one piece, it is parted by eroding
    it until two large ones are left. Else each piece is told by the middle of the body.
    """
    labels = np.zeros(lung.shape, np.uint8)
    box = box_of(lung)
    if box is None:
        return labels
    inside = lung[box]
    pieces = cc3d.connected_components(inside, connectivity=26, out_dtype=np.uint32)
    statistics = cc3d.statistics(pieces)
    two = _two_large(statistics["voxel_counts"], int(inside.sum()))
    columns = statistics["centroids"][:, 2]
    middle, width = _body(sampled)
    middle -= box[2].start
    if two is not None and _two_sided(columns[list(two)], middle, width):
        middle = float(columns[list(two)].mean())
    else:
        parted = _parted(inside, geometry, threads, middle, width)
        if parted is not None:
            labels[box] = parted * inside
            return labels
    side = np.where(columns < middle, RIGHT, LEFT).astype(np.uint8)
    side[0] = 0
    labels[box] = side[pieces]
    return labels


def _parted(
    inside: BoolArray, geometry: Geometry, threads: int, middle: float, width: float
) -> NDArray[np.uint8] | None:
    """Return the sides of lungs that touch, None where what was parted is one lung."""
    parted = _part(inside, geometry, threads)
    if parted is None:
        return None
    centres = np.array([np.nonzero((parted == s) & inside)[2].mean() for s in (RIGHT, LEFT)])
    return parted if _two_sided(centres, middle, width) else None


def _two_large(sizes: NDArray[np.unsignedinteger], total: int) -> tuple[int, int] | None:
    """Return the two largest pieces if both are large enough to be a lung."""
    if len(sizes) < 3:
        return None
    order = 1 + np.argsort(sizes[1:])[::-1]
    first, second = int(order[0]), int(order[1])
    return (first, second) if sizes[second] >= _SIDE * total else None


def _part(lung: BoolArray, geometry: Geometry, threads: int) -> NDArray[np.uint8] | None:
    """Return the side of each voxel of lungs that touch, None where there is only one lung.

    On every second row and column: the cut runs where lungs touch, through a thin septum.
    """
    coarse = np.ascontiguousarray(lung[:, ::2, ::2])
    z, y, x = geometry.spacing
    spacing = z, 2 * y, 2 * x
    depth = edt.edt(coarse, anisotropy=spacing, black_border=False, parallel=threads)
    for erosion in _EROSIONS:
        pieces = cc3d.connected_components(depth > erosion, connectivity=6, out_dtype=np.uint32)
        statistics = cc3d.statistics(pieces)
        sizes = statistics["voxel_counts"]
        two = _two_large(sizes, int(sizes[1:].sum()))
        if two is not None:
            right, left = sorted(two, key=lambda piece: statistics["centroids"][piece, 2])
            away = [
                edt.edt(pieces != piece, anisotropy=spacing, parallel=threads)
                for piece in (right, left)
            ]
            sides = np.where(away[0] <= away[1], RIGHT, LEFT).astype(np.uint8)
            fine = sides.repeat(2, 1).repeat(2, 2)
            return fine[:, : lung.shape[1], : lung.shape[2]]
    return None


def _two_sided(columns: NDArray[np.floating], middle: float, width: float) -> bool:
    """Tell whether two pieces are two lungs, and not one lung in two pieces."""
    apart = float(np.ptp(columns)) > _APART * width
    return apart or bool(columns.min() < middle < columns.max())


def _body(sampled: NDArray[np.int16]) -> tuple[float, float]:
    """Return the body's middle column and its width in columns, medians over slices."""
    columns: NDArray[np.int64] = (sampled > _BODY).sum(1)
    position = STEP * np.arange(columns.shape[1])
    columns = columns[columns.any(1)]
    if not len(columns):
        return float(position[-1]) / 2, float(position[-1])
    middle = np.median((columns * position).sum(1) / columns.sum(1))
    return float(middle), float(np.median(STEP * (columns > 0).sum(1)))


def _fill_holes(lung: BoolArray, slice_size: int) -> BoolArray:
    """Fill small holes of each slice, and what lung surrounds on all sides of a volume.

    Never all that a slice shows as a hole: the dome of the liver is one.
    """
    holes, small = (np.zeros(lung.shape, np.bool_) for _ in range(2))
    largest = (LONE_HOLE if len(lung) == 1 else SMALL_HOLE) * slice_size
    for i in np.flatnonzero(lung.any((1, 2))):
        outside = np.pad(~lung[i], 1, constant_values=True).astype(np.uint8)
        cv2.floodFill(outside, None, (0, 0), 2)
        hole = outside[1:-1, 1:-1] == 1
        if hole.any():
            _, pieces, figures, _ = cv2.connectedComponentsWithStats(
                hole.astype(np.uint8), connectivity=4
            )
            holes[i] = hole
            small[i] = hole & (figures[:, cv2.CC_STAT_AREA] <= largest)[pieces]
    if len(lung) > 1:
        small |= _closed(holes, lung)
    return lung | small


def _closed(holes: BoolArray, lung: BoolArray) -> BoolArray:
    """Return those of the slices' holes that lung closes from above and below as well."""
    pieces = cc3d.connected_components(holes, connectivity=6, out_dtype=np.uint32)
    outside = ~(lung | holes)
    leaks = holes.copy()
    leaks[1:-1] &= outside[:-2] | outside[2:]
    closed = np.ones(int(pieces.max()) + 1, np.bool_)
    closed[np.unique(pieces[leaks])] = closed[0] = False
    return closed[pieces]
