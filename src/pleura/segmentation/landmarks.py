"""Anatomical landmarks that agree with, or contradict, the orientation of a scan.

All arrays are canonical axial: slices from foot to head, rows from front to back, columns from the
patient's right to left. Each landmark is a ratio: positive if its position agrees with the
orientation, negative if it is on the opposite side. Lengths are relative to the lungs, so no
spacing is needed. The table is not a landmark: it is in front of a prone patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.segmentation.postprocessing import bounding_box
from pleura.typing import BoolArray

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
    points = cv2.findNonZero(lung.astype(np.uint8)).reshape(-1, 2)
    x, y, width, height = cv2.boundingRect(points)
    middle_x, middle_y = x + (width - 1) / 2, y + (height - 1) / 2
    outline = cv2.convexHull(points)
    hull, wall = np.zeros(lung.shape, np.uint8), np.zeros(lung.shape, np.uint8)
    cv2.fillConvexPoly(hull, outline, 1)
    cv2.polylines(wall, [outline], True, 1, 2 * max(1, round(_WALL * width)))
    row, column = np.nonzero((hu > _BONE) & (wall > hull))
    within_width = abs(column - middle_x) < width / 2
    within_height = abs(row - middle_y) < height / 2
    gap = (hull > 0) & ~lung
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
        "lung": len(points),
        "centre": float(points[:, 1].mean()),
        "width": width,
        "height": height,
        "pair": _pair(lung),
        **{name: float(counted.sum()) for name, counted in counts.items()},
    }


def _pair(lung: BoolArray) -> float:
    """Return 1 for two lungs side by side, -1 for one behind the other, 0 for a single lung."""
    _, _, statistics, centres = cv2.connectedComponentsWithStats(
        lung.astype(np.uint8), connectivity=4
    )
    sizes = statistics[1:, cv2.CC_STAT_AREA]
    second, first = np.argsort(sizes)[-2:] if len(sizes) > 1 else (0, 0)
    if sizes[second] < 0.25 * sizes[first] or first == second:
        return 0
    distance = abs(centres[1 + first] - centres[1 + second])
    return 1 if distance[0] > distance[1] else -1


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
    x, y, width, height = cv2.boundingRect(np.array(lung.any(0), np.uint8))
    box = slice(y, y + height), slice(x, x + width)
    reach = (slices[-1] - slices[0]) // 4
    core = np.ones((2 * round(_CORE * width / 2) + 1,) * 2, np.uint8)
    columns = np.zeros(width)
    for i in range(max(0, slices[0] - reach), slices[0] + reach + 1):
        smooth = cv2.blur(np.clip(hu[i][box], -300, 500).astype(np.float32), (3, 3))
        solid = (smooth > _SOLID[0]) & (smooth < _SOLID[1]) & ~lung[i][box]
        columns += cv2.erode(
            solid.astype(np.uint8), core, borderType=cv2.BORDER_CONSTANT, borderValue=0
        ).sum(0)
    position = (np.arange(width) + 0.5) / width - 0.5
    return _balance(columns[position < -0.1], columns[position > 0.1], 0.01 * lung.sum())


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
        mean = cv2.blur(bone.mean(axis, dtype=np.float32), size[::-1].tolist())
        densest.append(float(mean.max()))
    others = max(densest[1:])
    return (densest[0] - others) / (densest[0] + others + 0.01)
