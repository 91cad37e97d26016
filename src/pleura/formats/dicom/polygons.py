"""Rasterisation of polygons: pixels whose centres are inside."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.typing import BoolArray

_GRAIN = 100
"""Vertices are rounded to this fraction of a pixel, so that rounded coordinates on pixel centres
are exactly there."""

_MAX_CROSSINGS = 1 << 21
"""Crossings of edges and rows that are computed at a time."""


def fill_polygons(
    polygons: Iterable[NDArray[np.float64]], shape: tuple[int, int]
) -> tuple[BoolArray, bool]:
    """Fill closed polygons by the even-odd rule, over all polygons together.

    A hole is a polygon inside another one, or joined to it by a keyhole. A pixel is inside if its
    centre is; centres on an edge are inside, so that outlines through the centres of border pixels
    enclose these.

    Parameters
    ----------
    polygons:
        Vertices (n, 2) as (row, column); the first need not be repeated.
    shape:
        Rows and columns of the image; parts outside of it are cut off.

    Returns
    -------
    inside:
        (rows, columns).
    crossing:
        Whether a polygon crosses or overlaps itself around the centre of a pixel.
    """
    inside, border = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    crossing = False
    for polygon in polygons:
        vertices = np.rint(polygon * _GRAIN) / _GRAIN
        low = np.clip(np.floor(vertices.min(0)), 0, shape).astype(int)
        high = np.clip(np.ceil(vertices.max(0)) + 1, 0, shape).astype(int)
        if (low >= high).any():
            continue
        box = slice(low[0], high[0]), slice(low[1], high[1])
        winding = _winding_numbers(vertices - low, border[box])
        inside[box] ^= winding % 2 == 1
        # A simple polygon winds once around its pixels, in one direction.
        crossing |= int(winding.max()) - int(winding.min()) > 1
    return inside | border, crossing


def _winding_numbers(vertices: NDArray[np.float64], border: BoolArray) -> NDArray[np.int32]:
    """Return how often a polygon winds around each pixel, and mark centres on its edges.

    Each edge crosses the rows of a half-open interval, and adds its direction to all pixels from
    the crossing to the right.
    """
    rows, columns = border.shape
    steps = np.zeros((rows, columns + 1), np.int32)
    start, end = vertices, np.roll(vertices, -1, axis=0)
    _mark_vertices(vertices, border)
    _mark_edges_along_rows(start, end, border)
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, rows).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, rows).astype(np.int64)
    at_once = max(1, _MAX_CROSSINGS // rows)
    used = np.flatnonzero(last > first)
    for block in np.split(used, range(at_once, len(used), at_once)):
        counts = last[block] - first[block]
        edge = np.repeat(block, counts)
        offset = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = first[edge] + offset
        rise = end[edge] - start[edge]
        column = start[edge, 1] + (row - start[edge, 0]) * rise[:, 1] / rise[:, 0]
        np.add.at(
            steps,
            (row, np.clip(np.ceil(column), 0, columns).astype(np.int64)),
            np.where(rise[:, 0] > 0, 1, -1),
        )
        nearest = np.rint(column)
        on_centre = (np.abs(column - nearest) < 1e-9) & (nearest >= 0) & (nearest < columns)
        border[row[on_centre], nearest[on_centre].astype(np.int64)] = True
    return np.cumsum(steps[:, :-1], axis=1, dtype=np.int32)


def _mark_vertices(vertices: NDArray[np.float64], border: BoolArray) -> None:
    on_centre = (vertices % 1 == 0).all(1)
    row, column = vertices[on_centre & _is_inside(vertices, border)].astype(np.int64).T
    border[row, column] = True


def _is_inside(vertices: NDArray[np.float64], border: BoolArray) -> BoolArray:
    return np.asarray(((vertices >= 0) & (vertices <= np.array(border.shape) - 1)).all(1))


def _mark_edges_along_rows(
    start: NDArray[np.float64], end: NDArray[np.float64], border: BoolArray
) -> None:
    rows, columns = border.shape
    row = start[:, 0]
    along = (row == end[:, 0]) & (row % 1 == 0) & (row >= 0) & (row < rows)
    for (at, first), (_, last) in zip(start[along], end[along], strict=True):
        left, right = np.clip((min(first, last), max(first, last)), -1, columns)
        border[int(at), int(np.ceil(max(left, 0))) : int(np.floor(right)) + 1] = True
