"""Postprocessing of predicted lung voxels: remove components, fill holes, label the sides.

All arrays are canonical axial: slices from foot to head, rows from front to back, columns from the
patient's right to left. HU are needed only at every ``HU_STEP``-th row and column, so that the
whole scan is not kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.typing import BoolArray

HU_STEP = 4
"""Distance of sampled HU, in rows and columns."""

MIN_COMPONENT = 0.01
"""Minimum size of a component, relative to the largest one."""

GAS_MEDIAN, GAS_UPPER_QUARTILE = -960.0, -930.0
"""HU: a component is gas (bowel, airway, outside the body) if both its median and its upper
quartile are below. Lung contains vessels, also in emphysema."""

SMALL_HOLE, SMALL_HOLE_2D = 0.0005, 0.003
"""Maximum size of a hole in one slice that is filled (vessels), relative to the size of the slice;
in volumes and in single slices. Holes of a volume that lung encloses on all sides are filled
whatever their size."""

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
    components, count = cc3d.connected_components(
        lung[box], connectivity=26, out_dtype=np.uint32, return_N=True
    )
    sizes = np.zeros(count + 1, np.int64)
    for plane in components:  # slice by slice: bincount converts its argument to 64 bits
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    sizes[0] = 0
    if calibrated:
        for component, values in _sampled_hu(components, box, hu, _is_large(sizes)):
            if _is_gas(values):
                sizes[component] = 0
    large = _is_large(sizes)
    inside = lung[box] if large[1:].all() else large[components]
    del components  # four times as large as the mask
    lung[box] = _fill_holes(inside, lung[0].size)
    return lung


def bounding_box(mask: BoolArray) -> tuple[slice, ...] | None:
    """Return the bounding box of a mask (slices, rows, columns); None if the mask is empty."""
    if not mask.any():
        return None
    hits = (np.flatnonzero(mask.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)


def label_sides(
    lung: BoolArray, hu: NDArray[np.int16], geometry: Geometry, threads: int = 1
) -> NDArray[np.uint8]:
    """Label the right lung 1 and the left lung 2.

    If the two largest components are two lungs, each component gets the side of the nearer one. If
    the lungs touch, they are separated by erosion. Otherwise the middle of the body separates the
    sides.

    Parameters
    ----------
    lung:
        bool (slices, rows, columns).
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
    labels = np.zeros(lung.shape, np.uint8)
    box = bounding_box(lung)
    if box is None:
        return labels
    inside = lung[box]
    components = cc3d.connected_components(inside, connectivity=26, out_dtype=np.uint32)
    statistics = cc3d.statistics(components)
    pair = _two_lungs(statistics["voxel_counts"], int(inside.sum()))
    columns = statistics["centroids"][:, 2]
    middle, width = _body_position(hu)
    middle -= box[2].start
    if pair is not None and _are_two_sides(columns[list(pair)], middle, width):
        middle = float(columns[list(pair)].mean())
    else:
        separated = _separate_lungs(inside, geometry, threads)
        if separated is not None:
            centroids = [np.nonzero((separated == s) & inside)[2].mean() for s in (RIGHT, LEFT)]
            if _are_two_sides(np.array(centroids), middle, width):
                labels[box] = separated * inside
                return labels
    side = np.where(columns < middle, RIGHT, LEFT).astype(np.uint8)
    side[0] = 0
    labels[box] = side[components]
    return labels


def _is_large(sizes: NDArray[np.int64]) -> BoolArray:
    return np.asarray(sizes >= max(MIN_COMPONENT * sizes.max(), 1))


def _sampled_hu(
    components: NDArray[np.unsignedinteger],
    box: tuple[slice, ...],
    hu: NDArray[np.int16],
    selected: BoolArray,
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Yield the selected components that contain a sampled voxel, with their sampled HU."""
    _, row, column = (-(side.start // -HU_STEP) for side in box)  # the first sample in the box
    sampled = components[
        :, HU_STEP * row - box[1].start :: HU_STEP, HU_STEP * column - box[2].start :: HU_STEP
    ]
    values = hu[box[0], row : row + sampled.shape[1], column : column + sampled.shape[2]]
    for component in np.flatnonzero(selected):
        inside = values[sampled == component]
        if len(inside):
            yield int(component), inside


def _is_gas(values: NDArray[np.int16]) -> bool:
    sample = values[:: max(1, len(values) // 10_000)]
    median, upper_quartile = np.percentile(sample, (50, 75))
    return bool(median < GAS_MEDIAN and upper_quartile < GAS_UPPER_QUARTILE)


def _two_lungs(sizes: NDArray[np.unsignedinteger], total: int) -> tuple[int, int] | None:
    """Return the two largest components if both are large enough to be a lung."""
    if len(sizes) < 3:
        return None
    order = 1 + np.argsort(sizes[1:])[::-1]
    first, second = int(order[0]), int(order[1])
    return (first, second) if sizes[second] >= MIN_LUNG * total else None


def _separate_lungs(lung: BoolArray, geometry: Geometry, threads: int) -> NDArray[np.uint8] | None:
    """Return the side of each voxel of lungs that touch; None if there is only one lung.

    Computed at every second row and column: lungs touch at a thin septum.
    """
    coarse = np.ascontiguousarray(lung[:, ::2, ::2])
    z, y, x = geometry.spacing
    spacing = z, 2 * y, 2 * x
    depth = edt.edt(coarse, anisotropy=spacing, black_border=False, parallel=threads)
    for erosion in EROSIONS_MM:
        components = cc3d.connected_components(depth > erosion, connectivity=6, out_dtype=np.uint32)
        statistics = cc3d.statistics(components)
        sizes = statistics["voxel_counts"]
        pair = _two_lungs(sizes, int(sizes[1:].sum()))
        if pair is not None:
            right, left = sorted(pair, key=lambda label: statistics["centroids"][label, 2])
            distances = [
                edt.edt(components != label, anisotropy=spacing, parallel=threads)
                for label in (right, left)
            ]
            sides = np.where(distances[0] <= distances[1], RIGHT, LEFT).astype(np.uint8)
            fine = sides.repeat(2, 1).repeat(2, 2)
            return fine[:, : lung.shape[1], : lung.shape[2]]
    return None


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


def _fill_holes(lung: BoolArray, slice_size: int) -> BoolArray:
    """Fill small holes of each slice, and holes of a volume that lung encloses on all sides.

    Other holes of a slice stay, since the dome of the liver is one.
    """
    holes, small = (np.zeros(lung.shape, np.bool_) for _ in range(2))
    largest = (SMALL_HOLE_2D if len(lung) == 1 else SMALL_HOLE) * slice_size
    for i in np.flatnonzero(lung.any((1, 2))):
        background = np.pad(~lung[i], 1, constant_values=True)
        components, count = cc3d.connected_components(background, connectivity=4, return_N=True)
        if count > 1:
            is_hole = np.ones(count + 1, np.bool_)
            is_hole[[0, components[0, 0]]] = False
            is_small = is_hole & (np.bincount(components.ravel()) <= largest)
            components = components[1:-1, 1:-1]
            holes[i], small[i] = is_hole[components], is_small[components]
    if len(lung) > 1:
        small |= _enclosed(holes, lung)
    return lung | small


def _enclosed(holes: BoolArray, lung: BoolArray) -> BoolArray:
    """Return the holes of slices that lung also encloses from above and below."""
    components = cc3d.connected_components(holes, connectivity=6, out_dtype=np.uint32)
    outside = ~(lung | holes)
    leaks = holes.copy()
    leaks[1:-1] &= outside[:-2] | outside[2:]
    enclosed = np.ones(int(components.max()) + 1, np.bool_)
    enclosed[np.unique(components[leaks])] = enclosed[0] = False
    return enclosed[components]
