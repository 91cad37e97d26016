"""Postprocessing of predicted lung voxels: remove components, fill holes, label the sides.

All arrays are canonical axial: slices from foot to head, rows from front to back, columns from the
patient's right to left. HU are needed only at every ``HU_STEP``-th row and column, so that the
whole scan is not kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.segmentation.components import (
    Components,
    bounding_box,
    find_components,
    measure_labels,
)
from pleura.segmentation.holes import fill_holes
from pleura.typing import BoolArray

HU_STEP = 4
"""Distance of sampled HU, in rows and columns."""

MIN_COMPONENT = 0.01
"""Minimum size of a component, relative to the largest one."""

GAS_MEDIAN, GAS_UPPER_QUARTILE = -960.0, -930.0
"""HU: a component is gas (bowel, airway, outside the body) if both its median and its upper
quartile are below. Lung contains vessels, also in emphysema."""

MIN_LUNG = 0.15
"""Minimum size of a component that is a lung of its own, relative to all lung."""

EROSIONS_MM = (1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0, 12.0)
"""Depths of erosion at which lungs that touch are separated."""

MIN_DISTANCE = 0.3
"""Columns between the centroids of two lungs, relative to the width of the body; components of one
lung are closer."""

BODY = -500
"""HU: voxels above are body."""


def clean_mask(lung: BoolArray, hu: NDArray[np.int16], *, calibrated: bool = True) -> BoolArray:
    """Remove gas and small components, and fill holes, in place.

    Parameters
    ----------
    lung:
        bool (slices, rows, columns): predicted voxels, which are changed.
    hu:
        int16: HU at every ``HU_STEP``-th row and column.
    calibrated:
        Whether the values are calibrated HU. Gas is not removed otherwise, since the values of grey
        images do not separate gas from lung.

    Returns
    -------
    bool (slices, rows, columns)
        ``lung``.
    """
    box = bounding_box(lung)
    if box is None:
        return lung
    components = find_components(lung[box])
    sizes = components.sizes.copy()
    if calibrated:
        for component, values in _sampled_hu(components, box, hu, _is_large(sizes)):
            if _is_gas(values):
                sizes[component] = 0
    large = _is_large(sizes)
    for slices, labels, table in components.slabs():
        if not large[table[1:]].all():
            components.mask[slices] = large[table][labels]
    fill_holes(lung[box[0]], lung[0].size)
    return lung


def label_sides(
    lung: BoolArray, hu: NDArray[np.int16], geometry: Geometry, threads: int = 1
) -> NDArray[np.uint8]:
    """Label the right lung 1 and the left lung 2, in place.

    If the two largest components are two lungs, each component gets the side of the nearer one. If
    the lungs touch, they are separated by erosion. Otherwise the middle of the body separates the
    sides.

    Parameters
    ----------
    lung:
        bool (slices, rows, columns), whose memory the labels take.
    hu:
        int16: HU at every ``HU_STEP``-th row and column.
    geometry:
        Grid of ``lung``.
    threads:
        CPU threads.

    Returns
    -------
    uint8 (slices, rows, columns).
    """
    labels = lung.view(np.uint8)
    box = bounding_box(lung)
    if box is None:
        return labels
    inside = lung[box]
    components = find_components(inside)
    columns = components.columns
    pair = _two_lungs(components.sizes, int(components.sizes.sum()))
    middle, width = _body_position(hu)
    middle -= box[2].start
    if pair is not None and _are_two_sides(columns[list(pair)], middle, width):
        middle = float(columns[list(pair)].mean())
    else:
        sides = _separate_lungs(inside, geometry, threads)
        if sides is not None:
            measured = (measure_labels(plane, LEFT) for plane in _label_planes(inside, sides))
            sizes, sums = np.sum([*measured], 0)
            if _are_two_sides(sums[[RIGHT, LEFT]] / sizes[[RIGHT, LEFT]], middle, width):
                for plane, found in zip(labels[box], _label_planes(inside, sides), strict=True):
                    plane[:] = found
                return labels
    side = np.where(columns < middle, RIGHT, LEFT).astype(np.uint8)
    side[0] = 0
    for slices, found, table in components.slabs():
        labels[box][slices] = side[table][found]
    return labels


def _is_large(sizes: NDArray[np.int64]) -> BoolArray:
    return np.asarray(sizes >= max(MIN_COMPONENT * sizes.max(), 1))


def _sampled_hu(
    components: Components, box: tuple[slice, ...], hu: NDArray[np.int16], selected: BoolArray
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Yield the selected components that contain a sampled voxel, with their sampled HU."""
    _, row, column = (-(side.start // -HU_STEP) for side in box)  # the first sample in the box
    first_row, first_column = HU_STEP * row - box[1].start, HU_STEP * column - box[2].start
    found: dict[int, list[NDArray[np.int16]]] = {}
    for slices, labels, table in components.slabs():
        sampled = table[labels[:, first_row::HU_STEP, first_column::HU_STEP]]
        _, rows, columns = sampled.shape
        values = hu[box[0]][slices, row : row + rows, column : column + columns]
        for component in np.unique(table[selected[table]]).tolist():
            found.setdefault(component, []).append(values[sampled == component])
    for component, parts in found.items():
        inside = np.concatenate(parts)
        if len(inside):
            yield component, inside


def _is_gas(values: NDArray[np.int16]) -> bool:
    sample = values[:: max(1, len(values) // 10_000)]
    median, upper_quartile = np.percentile(sample, (50, 75))
    return bool(median < GAS_MEDIAN and upper_quartile < GAS_UPPER_QUARTILE)


def _two_lungs(sizes: NDArray[np.number[Any]], total: int) -> tuple[int, int] | None:
    """Return the two largest components if both are large enough to be a lung."""
    if len(sizes) < 3:
        return None
    order = 1 + np.argsort(sizes[1:])[::-1]
    first, second = int(order[0]), int(order[1])
    return (first, second) if sizes[second] >= MIN_LUNG * total else None


def _separate_lungs(lung: BoolArray, geometry: Geometry, threads: int) -> NDArray[np.uint8] | None:
    """Return the nearer side at every second row and column; None if there is only one lung.

    That is fine enough, since lungs touch at a thin septum.
    """
    z, y, x = geometry.spacing
    depth = edt.edt(
        np.ascontiguousarray(lung[:, ::2, ::2]).view(np.uint8),  # faster than bool, and equal
        anisotropy=(z, 2 * y, 2 * x),
        black_border=False,
        parallel=threads,
    )
    for erosion in EROSIONS_MM:
        components, count = cc3d.connected_components(
            depth > erosion, connectivity=6, out_dtype=np.uint32, return_N=True
        )
        sizes, sums = measure_labels(components, count)
        pair = _two_lungs(sizes, int(sizes[1:].sum()))
        if pair is not None:
            right, left = sorted(pair, key=lambda label: sums[label] / sizes[label])
            outside = components != right, components != left
            del depth, components  # each is four times as large as the mask
            distances = [
                edt.edt(m.view(np.uint8), anisotropy=(z, 2 * y, 2 * x), parallel=threads)
                for m in outside
            ]
            return np.where(distances[0] <= distances[1], np.uint8(RIGHT), np.uint8(LEFT))
    return None


def _label_planes(lung: BoolArray, sides: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the labels of each slice of a mask, from sides at every second row and column."""
    rows, columns = lung.shape[1:]
    for plane, side in zip(lung, sides, strict=True):
        yield side.repeat(2, 0).repeat(2, 1)[:rows, :columns] * plane


def _are_two_sides(columns: NDArray[np.floating], middle: float, width: float) -> bool:
    """Return whether centroids at two columns are of two lungs, not of two parts of one lung."""
    distant = float(np.ptp(columns)) > MIN_DISTANCE * width
    return distant or bool(columns.min() < middle < columns.max())


def _body_position(hu: NDArray[np.int16]) -> tuple[float, float]:
    """Return the middle column and the width of the body in columns, medians over slices."""
    columns: NDArray[np.int64] = (hu > BODY).sum(1)
    position = HU_STEP * np.arange(columns.shape[1])
    columns = columns[columns.any(1)]
    if not len(columns):
        return float(position[-1]) / 2, float(position[-1])
    middle = np.median((columns * position).sum(1) / columns.sum(1))
    return float(middle), float(np.median(HU_STEP * (columns > 0).sum(1)))
