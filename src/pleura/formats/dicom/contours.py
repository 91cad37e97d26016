"""Closed contours of a binary slice: one polygon per region, with its holes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
"""Vertices (n, 2) as (row, column); the first one is not repeated."""


def find_contours(region: NDArray[np.bool_]) -> Iterator[Polygon]:
    """Yield the outline of each connected region of a binary slice.

    Outlines run half-way between the centres of pixels inside and outside. Holes are joined to
    their outline by keyholes (PS3.3 C.8.8.6.3): channels of no width, traversed in both directions,
    which run between two rows, where no pixel has its centre.

    Parameters
    ----------
    region:
        (rows, columns); pixels that touch at a corner only are two regions.
    """
    padded = np.pad(region.astype(np.float32), 1)
    generator: Any = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        outline, *holes = (points[i : j - 1, ::-1] - 1.0 for i, j in pairwise(offsets))
        yield _without_collinear(_with_keyholes(outline, holes))


def _with_keyholes(outline: Polygon, holes: list[Polygon]) -> Polygon:
    """Join holes to an outline from top to bottom, each to what is joined already."""
    polygon = outline
    topmost_first = (_from_topmost_vertex(hole) for hole in holes)
    for hole in sorted(topmost_first, key=lambda hole: tuple(hole[0])):
        edge, point = _left_neighbour(hole[0], polygon)
        polygon = np.concatenate(
            [polygon[: edge + 1], [point], hole, hole[:1], [point], polygon[edge + 1 :]]
        )
    return polygon


def _from_topmost_vertex(hole: Polygon) -> Polygon:
    """Reorder a polygon to begin at its first vertex by row, then by column."""
    first = np.lexsort((hole[:, 1], hole[:, 0]))[0]
    return np.roll(hole, -first, axis=0)


def _left_neighbour(vertex: Polygon, polygon: Polygon) -> tuple[int, Polygon]:
    """Find the point of a polygon that is nearest to the left of a vertex, in its row.

    Returns
    -------
    edge:
        Index of the edge with this point.
    point:
        (row, column).
    """
    row, column = vertex
    start, end = polygon, np.roll(polygon, -1, axis=0)
    rise = end[:, 0] - start[:, 0]
    spans = (start[:, 0] - row) * (end[:, 0] - row) <= 0
    fraction = np.where(rise == 0, 0.0, (row - start[:, 0]) / np.where(rise == 0, 1.0, rise))
    crossing = start[:, 1] + fraction * (end[:, 1] - start[:, 1])
    crossing = np.where(rise == 0, np.maximum(start[:, 1], end[:, 1]), crossing)
    crossing = np.where(spans & (crossing < column), crossing, -np.inf)
    edge = int(np.argmax(crossing))
    return edge, np.array([row, crossing[edge]])


def _without_collinear(polygon: Polygon) -> Polygon:
    """Remove repeated vertices, and vertices where the direction does not change."""
    polygon = polygon[(polygon != np.roll(polygon, 1, axis=0)).any(1)]
    before = polygon - np.roll(polygon, 1, axis=0)
    after = np.roll(polygon, -1, axis=0) - polygon
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    reverses = (before * after).sum(1) < 0
    corners: Polygon = polygon[(cross != 0) | reverses]
    return corners
