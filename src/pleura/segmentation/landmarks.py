"""Anatomical landmarks that agree with, or contradict, the orientation of a scan.

All arrays are canonical axial: slices from foot to head, rows from front to back, columns from the
patient's right to left. Each landmark is a ratio: positive if its position agrees with the
orientation, negative if it is on the opposite side. Lengths are relative to the lungs, so no
spacing is needed. The table is not a landmark: it is in front of a prone patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.segmentation.components import bounding_box
from pleura.typing import AnyArray, BoolArray

Table = dict[str, NDArray[np.float64]]

_WIDTH = 128  # approximate larger side of a sampled slice, in pixels
_SLICES = 64  # approximate maximum number of slices that are measured
_BONE, _AIR, _BODY, _SOLID = 300, -850, -500, (-10, 200)  # HU
_MIN_SLICES = 10  # slices with lung: fewer contain neither base nor apex
_BONE_SLICES = 20  # slices with lung: from here on, bone alone determines front and back
_WALL = 0.15  # of the lungs' width: thickness of the chest wall with ribs, spine and sternum
_CORE = 0.12  # of the lungs' width: solid tissue as thick as this is liver more often than not
_BASE = 0.15  # of the lung in the largest slice: with less, the lowest slice is the base


@dataclass(frozen=True)
class Landmarks:
    """Positions of landmarks relative to an orientation, from -1 to 1; NaN if not visible.

    Attributes
    ----------
    bone:
        Bone of the chest wall behind the lungs (ribs, spine) versus in front of them.
    heart:
        Tissue between the front halves of the lungs versus their back halves; only in scans of few
        slices without the base.
    recess:
        Distance of the lowest fifth of the lungs behind their centre, per depth of the lungs.
    apex:
        Width of the lower end of the lungs less that of the upper end, per width of the lungs.
    airway:
        Air between the upper 40 % of the lungs (trachea) versus the lower 40 %.
    mediastinum:
        Share of tissue between the lungs (heart) in their lower half less that in the upper half.
    liver:
        Thick solid tissue at the base of the right lung versus the left lung.
    pair:
        Share of slices with two lungs side by side, minus the share with one behind the other.
    side:
        Bone of the chest wall on the left versus the right; about 0 in a common scan.
    spine:
        Densest line of bone along the slice axis versus the other axes, if opposite borders of the
        slices truncate the body, and neither the first nor the last slice does.
    """

    bone: float = np.nan
    heart: float = np.nan
    recess: float = np.nan
    apex: float = np.nan
    airway: float = np.nan
    mediastinum: float = np.nan
    liver: float = np.nan
    pair: float = np.nan
    side: float = np.nan
    spine: float = np.nan

    @property
    def upside_down(self) -> bool:
        """Whether the head is where the orientation has the feet."""
        return _opposite(self.apex / 0.35, self.airway / 0.5, self.mediastinum / 0.15)

    def contradictions(self) -> tuple[str, ...]:
        """Return one clause per axis that the anatomy contradicts."""
        if self.spine < 0.15:
            return ("the slices are not axial",)
        if self.pair < -0.4 and abs(self.side) > max(0.2, 2 * abs(self.bone)):
            return ("the lungs lie one behind the other",)
        clauses = []
        bone_alone = self.bone < -0.4 and np.isnan(self.heart) and np.isnan(self.recess)
        if bone_alone or _opposite(self.bone / 0.3, self.heart / 0.2, self.recess / 0.2):
            clauses.append("the spine lies in front of the lungs")
        if self.upside_down:
            clauses.append("the trachea and the apex of the lungs point to the feet")
        if self.liver < -0.4:
            clauses.append("the liver lies on the left")
        return tuple(clauses)


def _opposite(*ratios: float) -> bool:
    """Return whether at least two landmarks contradict the orientation and none clearly agrees.

    ``ratios`` are landmarks relative to the smallest values of common scans.
    """
    visible = np.clip([ratio for ratio in ratios if np.isfinite(ratio)], -1, 1)
    return bool(visible.sum() < -1.6)


def sampling_step(shape: tuple[int, ...]) -> int:
    """Return the step in rows and columns at which `find_landmarks` needs a scan."""
    return max(1, round(max(shape[1:]) / _WIDTH))


def find_landmarks(hu: NDArray[np.int16], lung: BoolArray) -> Landmarks:
    """Return the landmarks of a scan.

    Parameters
    ----------
    hu:
        int16 (slices, rows, columns), canonical axial, at every `sampling_step`-th row and column.
    lung:
        bool of the same shape: both lungs.
    """
    step = -(-len(hu) // _SLICES)
    hu, lung = hu[::step], lung[::step]
    area = lung.sum((1, 2), dtype=np.int64)
    slices = np.flatnonzero(area > max(0.02 * area.max(initial=0), 12))
    if not len(slices):
        return Landmarks()
    rows = [_measure_slice(hu[i], lung[i]) for i in slices]
    table = {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
    landmarks = {"bone": _balance(table["back"], table["front"], 10)}
    has_pair = table["pair"] != 0
    if has_pair.mean() > 0.3:
        landmarks["pair"] = float(table["pair"][has_pair].mean())
        landmarks["side"] = _balance(table["left"], table["right"], 10)
    if len(slices) >= _MIN_SLICES:
        landmarks |= _head_end(table)
        landmarks["spine"] = _spine(hu, lung)
        if Landmarks(**landmarks).upside_down:  # the base is at the other end
            hu, lung, area = hu[::-1], lung[::-1], area[::-1]
            slices = len(area) - 1 - slices[::-1]
            table = {name: values[::-1] for name, values in table.items()}
        if area[0] < _BASE * area.max():
            landmarks["recess"] = _recess(table)
            landmarks["liver"] = _liver(hu, lung, slices)
    if "recess" not in landmarks and len(slices) < _BONE_SLICES:
        landmarks["heart"] = _balance(table["gap_front"], table["gap_back"], 8)
    return Landmarks(**landmarks)


def _balance(first: NDArray[np.float64], second: NDArray[np.float64], minimum: float) -> float:
    """Return the difference of two sums by their sum, near 0 if both are below ``minimum``."""
    a, b = float(first.sum()), float(second.sum())
    return (a - b) / (a + b + minimum)


def _measure_slice(hu: NDArray[np.int16], lung: BoolArray) -> dict[str, float]:
    """Count voxels of bone, tissue and air around and between the lungs of a slice."""
    lung_row, lung_column = np.nonzero(lung)
    width, height = int(np.ptp(lung_column)) + 1, int(np.ptp(lung_row)) + 1
    middle_x = lung_column.min() + (width - 1) / 2
    middle_y = lung_row.min() + (height - 1) / 2
    hull = _convex_hull(lung)
    wall = ~hull & (edt.edt(~hull) <= max(1, round(_WALL * width)))
    row, column = np.nonzero((hu > _BONE) & wall)
    within_width = abs(column - middle_x) < width / 2
    within_height = abs(row - middle_y) < height / 2
    gap = hull & ~lung
    gap_row = np.nonzero(gap & (abs(np.arange(lung.shape[1]) - middle_x) < 0.3 * width))[0]
    air_column = np.nonzero(gap & (hu < _AIR))[1]
    counts = {
        "front": within_width & (row < middle_y),
        "back": within_width & (row > middle_y),
        "right": within_height & (column < middle_x),
        "left": within_height & (column > middle_x),
        "gap_front": gap_row < middle_y,
        "gap_back": gap_row > middle_y,
        "air": abs(air_column - middle_x) < 0.12 * width,
    }
    return {
        "lung": len(lung_row),
        "centre": float(lung_row.mean()),
        "width": width,
        "height": height,
        "pair": _pair(lung),
        **{name: float(counted.sum()) for name, counted in counts.items()},
    }


def _convex_hull(mask: BoolArray) -> BoolArray:
    """Return the convex hull of a mask, to the nearest pixel of each row."""
    rows = np.flatnonzero(mask.any(1))
    first = mask[rows].argmax(1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    between = np.arange(rows[0], rows[-1] + 1)
    left = np.interp(between, *_lower_hull(rows, first))
    right = -np.interp(between, *_lower_hull(rows, -last))
    columns = np.arange(mask.shape[1])
    hull = np.zeros_like(mask)
    hull[between] = (columns >= np.rint(left)[:, None]) & (columns <= np.rint(right)[:, None])
    return hull


def _lower_hull(x: NDArray[np.intp], y: NDArray[np.intp]) -> tuple[list[int], list[int]]:
    """Return the vertices of the lower convex hull of points with increasing x.

    References
    ----------
    A. M. Andrew: Another efficient algorithm for convex hulls in two dimensions. Information
    Processing Letters 9 (1979).
    """
    hull_x: list[int] = []
    hull_y: list[int] = []
    for c, d in zip(x.tolist(), y.tolist(), strict=True):
        while len(hull_x) > 1:
            a, b = hull_x[-2], hull_y[-2]
            if (hull_x[-1] - a) * (d - b) > (hull_y[-1] - b) * (c - a):
                break
            del hull_x[-1], hull_y[-1]
        hull_x.append(c)
        hull_y.append(d)
    return hull_x, hull_y


def _pair(lung: BoolArray) -> float:
    """Return 1 for two lungs side by side, -1 for one behind the other, 0 for a single lung."""
    components = cc3d.connected_components(lung, connectivity=4)
    sizes = np.bincount(components.ravel())[1:]
    if len(sizes) < 2:
        return 0
    second, first = np.argsort(sizes)[-2:]
    if sizes[second] < 0.25 * sizes[first]:
        return 0
    centres = [np.argwhere(components == 1 + label).mean(0) for label in (first, second)]
    rows, columns = abs(centres[0] - centres[1])
    return 1 if columns > rows else -1


def _head_end(table: Table) -> dict[str, float]:
    """Return apex, airway and mediastinum."""
    lung, width = table["lung"], table["width"]
    wide = width[lung > 0.2 * lung.max()]
    height = np.linspace(0, 1, len(lung))
    share = []
    for half in (height < 0.5, height > 0.5):
        gap = table["gap_front"][half].sum() + table["gap_back"][half].sum()
        share.append(float(gap / (gap + lung[half].sum())))
    return {
        "apex": float((wide[0] - wide[-1]) / np.median(width)),
        "airway": _balance(table["air"][height > 0.6], table["air"][height < 0.4], 10),
        "mediastinum": share[0] - share[1],
    }


def _recess(table: Table) -> float:
    lung, centre = table["lung"], table["centre"]
    low = np.linspace(0, 1, len(lung)) < 0.2
    offset = np.average(centre[low], weights=lung[low]) - np.average(centre, weights=lung)
    return float(offset / np.median(table["height"]))


def _liver(hu: NDArray[np.int16], lung: BoolArray, slices: NDArray[np.intp]) -> float:
    """Compare the cores of solid tissue on both sides, around and below the base of the lungs."""
    _, rows, columns = bounding_box(lung) or (slice(0),) * 3
    hu, lung = hu[:, rows, columns], lung[:, rows, columns]
    width = lung.shape[2]
    reach = (slices[-1] - slices[0]) // 4
    radius = round(_CORE * width / 2)
    core = 2 * radius + 1, 2 * radius + 1
    count = np.zeros(width)
    for i in range(max(0, slices[0] - reach), slices[0] + reach + 1):
        smooth = _mean_filter(np.clip(hu[i], -300, 500), (3, 3))
        solid = (smooth > _SOLID[0]) & (smooth < _SOLID[1]) & ~lung[i]
        cores = (_window_sums(solid, core) == core[0] ** 2).sum(0)
        count[radius : radius + len(cores)] += cores
    position = (np.arange(width) + 0.5) / width - 0.5
    return _balance(count[position < -0.1], count[position > 0.1], 0.01 * lung.sum())


def _spine(hu: NDArray[np.int16], lung: BoolArray) -> float:
    """Return how much the densest line of bone along the slice axis exceeds the others' densest.

    NaN unless the body tapers towards the first and the last slice and the slices cut it at two
    opposite edges, as coronal and sagittal slices do.
    """
    body = hu > _BODY
    size = body.mean((1, 2))
    cut = [np.median(body.take((0, -1), axis).mean(3 - axis), 0).min() for axis in (1, 2)]
    filled = size[size > 0.1 * size.max()]  # ignores padding slices
    if not len(filled) or max(filled[[0, -1]]) > 0.5 * filled.max() or max(cut) < 0.04:
        return np.nan
    bone = hu[bounding_box(lung) or ...] > 200
    extent = np.array(bone.shape)
    densest = []
    for axis in range(3):
        size = np.maximum(np.delete(extent, axis) // 10, 1)
        densest.append(float(_mean_filter(bone.mean(axis), (size[0], size[1])).max()))
    others = max(densest[1:])
    return (densest[0] - others) / (densest[0] + others + 0.01)


def _mean_filter(image: AnyArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the mean of the window around each pixel; the image is mirrored at its borders."""
    border = [(n // 2, n - 1 - n // 2) for n in size]
    return _window_sums(np.pad(image, border, "reflect"), size) / (size[0] * size[1])


def _window_sums(image: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Return the sum of each window (rows, columns) that lies in the image."""
    sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = size
    sums = sums[rows:] - sums[:-rows]
    return np.asarray(sums[:, columns:] - sums[:, :-columns])
