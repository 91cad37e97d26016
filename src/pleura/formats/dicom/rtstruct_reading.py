"""Reading RT Structure Sets (PS3.3 A.19): contours, drawn on the grid of a scan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pleura.errors import DataError, ScanError
from pleura.formats.dicom.attributes import to_int
from pleura.formats.dicom.polygons import fill_polygons
from pleura.formats.dicom.seg_reading import codes_of
from pleura.formats.segments import (
    ALIGNED,
    Drawn,
    Segment,
    SegmentFile,
    outside_decisions,
    require_drawn,
)
from pleura.names import counted
from pleura.scan.geometry import MAX_LENGTH, Geometry
from pleura.scan.origin import Origin
from pleura.scan.scan import Decision
from pleura.typing import BoolArray

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

_KIND = "RT Structure Set"
_REGULAR_STEPS = 3
"""Equal distances between planes that define their spacing."""

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class _Contour:
    """A closed contour in indices of a grid: the position of its plane, and its vertices there."""

    position: float
    vertices: NDArray[np.float64]


def read_rtstruct(path: Path, dataset: Dataset) -> SegmentFile:
    """Read the structures of an RT Structure Set; contours are read when they are drawn.

    Contours of one plane are combined by the even-odd rule, of which the XOR of PS3.3 C.8.8.6.3 is
    the definition, and which also fills keyholes correctly.

    Raises
    ------
    ScanError
        The structures have no different numbers.
    """
    observations = {
        to_int(item.get("ReferencedROINumber")): codes_of(item, "RTROIIdentificationCodeSequence")
        for item in dataset.get("RTROIObservationsSequence") or []
    }
    rois = list(dataset.get("StructureSetROISequence") or [])
    numbers = [to_int(roi.get("ROINumber")) for roi in rois]
    if len(set(numbers)) < len(numbers) or not numbers:
        raise ScanError(
            f"the {_KIND} cannot be read: its structures have no different numbers",
            where=path,
            hint="export the file again",
        )
    segments = tuple(
        Segment(
            number,
            str(roi.get("ROIName", "") or "").strip(),
            observations.get(number, frozenset()),
        )
        for number, roi in zip(numbers, rois, strict=True)
    )
    origin = Origin(format="DICOM", path=path, files=(path,))

    def draw(numbers: Collection[int], grid: Geometry) -> Drawn:
        parts = [_draw(path, dataset, number, grid) for number in sorted(numbers)]
        inside = np.logical_or.reduce([drawn for drawn, *_ in parts])
        outside = sum(count for _, _, count in parts)
        if outside:
            require_drawn(inside, _KIND, origin)
        decisions = [decision for _, found, _ in parts for decision in found]
        return inside, (*decisions, *outside_decisions(outside, "contour"))

    references = [
        item
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for item in study.get("RTReferencedSeriesSequence") or []
    ]
    frames_of_reference = {str(roi.get("ReferencedFrameOfReferenceUID", "")) for roi in rois} - {""}
    return SegmentFile(
        _KIND,
        origin,
        segments,
        None,
        draw,
        frames_of_reference.pop() if len(frames_of_reference) == 1 else "",
        frozenset(str(item.get("SeriesInstanceUID", "")) for item in references) - {""},
    )


def _draw(
    path: Path, dataset: Dataset, number: int, grid: Geometry
) -> tuple[BoolArray, list[Decision], int]:
    """Draw one structure: each slice takes the contours of the nearest plane.

    Returns
    -------
    inside, decisions:
        The voxels, and decisions of drawing them.
    outside:
        Number of contours that are not on the grid.
    """
    closed, ignored = _points(path, dataset, number)
    decisions = []
    if ignored:
        choice = f"{counted(ignored, 'contour')} ignored"
        decisions.append(Decision("mask", choice, "open, or a point", warning=True))
    axis, contours = _in_planes(path, closed, grid)
    inside = np.zeros(grid.shape, np.bool_)
    planes = np.moveaxis(inside, axis, 0)  # a view
    spacing = _plane_spacing(dataset, grid, axis)
    by_slice, exact = _nearest_planes(contours, len(planes), spacing)
    outside = sum(not -0.5 <= contour.position <= len(planes) - 0.5 for contour in contours)
    if not exact:
        reason = "the contours are not on the slices of the scan"
        choice = "each slice takes the nearest contours"
        decisions.append(Decision("mask", choice, reason, warning=True))
    crossing = 0
    for i, polygons in by_slice.items():
        planes[i], crosses = fill_polygons(polygons, planes.shape[1:])
        crossing += crosses
    if crossing:
        choice = f"filled by the even-odd rule on {counted(crossing, 'slice')}"
        reason = "contours cross or overlap themselves"
        decisions.append(Decision("mask", choice, reason, warning=True))
    return inside, decisions, outside


def _points(path: Path, dataset: Dataset, number: int) -> tuple[list[NDArray[np.float64]], int]:
    """Return the points (n, 3) in mm of the closed contours of a structure, and count others."""
    closed, ignored = [], 0
    for item in dataset.get("ROIContourSequence") or []:
        if to_int(item.get("ReferencedROINumber")) != number:
            continue
        for contour in item.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType", "")) not in _CLOSED:
                ignored += 1
                continue
            points = _coordinates(contour)
            if points is None:
                raise ScanError(
                    f"the {_KIND} cannot be read: a contour has invalid coordinates",
                    where=path,
                    hint="export the file again",
                )
            closed.append(points)
    return [points for points in closed if len(points)], ignored


def _coordinates(contour: Dataset, points: int | None = None) -> NDArray[np.float64] | None:
    """Return the points (n, 3) of a contour in mm, or the first ones; None if they are not valid.

    Conversion of the text by pydicom would take most of the time.
    """
    count = None if points is None else 3 * points
    element: Any = contour.get_item("ContourData")
    value = b"" if element is None or element.value is None else element.value
    try:
        texts = value.split(b"\\", count or -1) if isinstance(value, bytes) else list(value)
        numbers = np.array([text for text in texts[:count] if text], np.float64)
    except ValueError:
        return None
    valid = len(numbers) % 3 == 0 and bool((np.abs(numbers) < MAX_LENGTH).all())
    return numbers.reshape(-1, 3) if valid else None


def _in_planes(
    path: Path, contours: list[NDArray[np.float64]], grid: Geometry
) -> tuple[int, list[_Contour]]:
    """Return the axis of a grid along which contours are planar, and the contours in its indices.

    Raises
    ------
    DataError
        The contours are oblique to the grid.
    """
    to_grid = np.linalg.inv(grid.affine)
    indices = [points @ to_grid[:3, :3].T + to_grid[:3, 3] for points in contours]
    if not indices:
        return 0, []
    deviations = np.max([np.ptp(index, axis=0) for index in indices], axis=0)
    axis = int(np.argmin(deviations))
    if deviations[axis] > ALIGNED:
        raise DataError(
            f"the contours of the {_KIND} are oblique to the slices of the scan",
            where=path,
            hint="pass the scan that they were drawn on",
        )
    across = [other for other in range(3) if other != axis]
    return axis, [_Contour(float(index[:, axis].mean()), index[:, across]) for index in indices]


def _plane_spacing(dataset: Dataset, grid: Geometry, axis: int) -> float:
    """Return the distance in slices between the planes of all structures; 1 if it is irregular."""
    firsts = [
        _coordinates(contour, points=1)
        for item in dataset.get("ROIContourSequence") or []
        for contour in item.get("ContourSequence") or []
    ]
    valid = [first for first in firsts if first is not None and len(first)]
    if not valid:
        return 1.0
    to_grid = np.linalg.inv(grid.affine)
    planes, _ = _planes(np.concatenate(valid) @ to_grid[axis, :3] + to_grid[axis, 3])
    steps = np.diff(planes)
    spacing = float(np.median(steps)) if len(steps) else 1.0
    regular = np.count_nonzero(np.abs(steps - spacing) < ALIGNED) >= _REGULAR_STEPS
    return spacing if regular else 1.0


def _nearest_planes(
    contours: list[_Contour], slices: int, spacing: float
) -> tuple[dict[int, list[NDArray[np.float64]]], bool]:
    """Assign contours to slices, and return whether each plane is a slice.

    Parameters
    ----------
    contours, slices:
        The contours of a structure, and the number of slices.
    spacing:
        Distance between planes, in slices.
    """
    if not contours:
        return {}, True
    planes, plane_of_contour = _planes(np.array([contour.position for contour in contours]))
    polygons: list[list[NDArray[np.float64]]] = [[] for _ in planes]
    for contour, plane in zip(contours, plane_of_contour, strict=True):
        polygons[plane].append(contour.vertices)
    exact = bool(np.abs(planes - np.rint(planes)).max() <= ALIGNED) and spacing < 1.5
    reach = max(spacing, 1.0) / 2
    nearest = _nearest(planes, np.arange(slices))
    near = np.flatnonzero(np.abs(planes[nearest] - np.arange(slices)) <= reach)
    return {int(i): polygons[nearest[i]] for i in near}, exact


def _planes(
    positions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the sorted positions of planes, equal up to rounding, and the plane of each one."""
    ordered = np.sort(positions)
    planes = ordered[np.concatenate([[True], np.diff(ordered) > ALIGNED / 2])]
    return planes, _nearest(planes, positions)


def _nearest(planes: NDArray[np.float64], positions: NDArray[Any]) -> NDArray[np.int64]:
    return np.searchsorted((planes[1:] + planes[:-1]) / 2, positions)
