"""Closed contours of a binary slice, each region with its holes as one polygon."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(n, 2) vertices (row, column) of a closed polygon, the first one not repeated."""


def rings(inside: NDArray[np.bool_]) -> Iterator[Ring]:
    """Yield a polygon for each region of a slice, half-way between pixels inside and outside.

    A hole is joined to its region's polygon by a channel of no width, which is traversed in both
    directions. Channels run between two rows, where no pixel has its centre.

    Parameters
    ----------
    inside:
        (rows, columns); pixels that touch at a corner only are two regions.
    """
    padded = np.pad(inside.astype(np.float32), 1)
    generator: Any = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        outer, *holes = (points[start : stop - 1, ::-1] - 1.0 for start, stop in pairwise(offsets))
        yield _corners(_joined(outer, holes))


def _joined(outer: Ring, holes: list[Ring]) -> Ring:
    """Join holes to a polygon from top to bottom: a channel leads to what is joined already."""
    ring = outer
    for hole in sorted((_from_top(hole) for hole in holes), key=lambda hole: tuple(hole[0])):
        after, gate = _left_of(hole[0], ring)
        ring = np.concatenate(
            [ring[: after + 1], [gate], hole, hole[:1], [gate], ring[after + 1 :]]
        )
    return ring


def _from_top(hole: Ring) -> Ring:
    """Let a polygon begin at its first vertex by row, then by column."""
    first = np.lexsort((hole[:, 1], hole[:, 0]))[0]
    return np.roll(hole, -first, axis=0)


def _left_of(vertex: Ring, ring: Ring) -> tuple[int, Ring]:
    """Return the point of a polygon that is next to the left of a vertex, and the edge it is on."""
    row, column = vertex
    start, end = ring, np.roll(ring, -1, axis=0)
    rise = end[:, 0] - start[:, 0]
    spans = (start[:, 0] - row) * (end[:, 0] - row) <= 0
    along = np.where(rise == 0, 0.0, (row - start[:, 0]) / np.where(rise == 0, 1.0, rise))
    crossing = start[:, 1] + along * (end[:, 1] - start[:, 1])
    crossing = np.where(rise == 0, np.maximum(start[:, 1], end[:, 1]), crossing)
    crossing = np.where(spans & (crossing < column), crossing, -np.inf)
    edge = int(np.argmax(crossing))
    return edge, np.array([row, crossing[edge]])


def _corners(ring: Ring) -> Ring:
    """Return a polygon without repeated vertices and those at which it goes straight on."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    corners: Ring = ring[(turn != 0) | ((before * after).sum(1) < 0)]
    return corners
