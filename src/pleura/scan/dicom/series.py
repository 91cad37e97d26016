"""Frames made into stacks: grouped, sorted along the normal, and checked for what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.scan.dicom.header import Frame
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.scan import Decision

SamePixels = Callable[[Frame, Frame], bool]

_ALIKE = 0.01  # of a step, or mm: positions that are the same
_EVEN = 0.1  # of a step: what positions may differ from an even spacing


@dataclass(frozen=True)
class Stack:
    """Frames of one volume in the order of the grid; None stands where a slice is missing."""

    frames: tuple[Frame | None, ...]
    geometry: Geometry
    decisions: tuple[Decision, ...]

    @property
    def present(self) -> list[Frame]:
        """The frames that there are."""
        return [frame for frame in self.frames if frame is not None]

    @property
    def first(self) -> Frame:
        """The first frame there is."""
        return self.present[0]

    @property
    def extent(self) -> float:
        """Millimetres from the first to the last slice."""
        return (self.geometry.shape[0] - 1) * self.geometry.spacing[0]

    def describe(self) -> str:
        """Say in a line what it is; no patient's data."""
        frame, kernel = self.first, self.first.kernel
        words = [str(self.geometry), frame.maker.title(), f"kernel {kernel}" if kernel else ""]
        return "; ".join([f"series {frame.series_number}", *(word for word in words if word)])


def group_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Part frames into those that can be one volume.

    Patient, study, series, frame of reference, orientation (to a degree), size and spacing must
    agree.
    """
    groups: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in frames:
        size = frame.rows, frame.columns, *(round(s, 3) for s in frame.spacing)
        series = frame.series or str(frame.path.parent)
        key: tuple[Any, ...] = (frame.patient, frame.study, series, frame.frame_of_reference, *size)
        alike = (k for k in groups if k[:-1] == key and _same_direction(k[-1], frame.orientation))
        groups.setdefault(next(alike, (*key, frame.orientation)), []).append(frame)
    return list(groups.values())


def make_stacks(frames: Sequence[Frame], same_pixels: SamePixels) -> list[Stack]:
    """Sort the frames of a group along the slices' normal and make them stacks.

    Parameters
    ----------
    frames:
        A group of `group_frames`.
    same_pixels:
        Tells whether two frames hold the same pixels; asked only where positions are the same.

    Raises
    ------
    ScanError
        Slices lie at the same place with other pixels and one acquisition, or in uneven steps.
    """
    decisions: list[Decision] = []
    single, duplicates = _without_duplicates(frames, same_pixels)
    if duplicates:
        what = f"{duplicates} of {len(frames)} slices left out"
        decisions.append(Decision("slices", what, "they are duplicates, pixel for pixel"))
    places = _project(single)
    parts = _acquisitions(single, places)
    if len(parts) > 1:
        split = Decision(
            "series",
            f"parted into {len(parts)} acquisitions",
            "their slices lie at the same places, or between each other's",
        )
        return [
            Stack(stack.frames, stack.geometry, (split, *decisions, *stack.decisions))
            for part in parts
            for stack in make_stacks(part, same_pixels)
        ]
    if len(single) > 1 and np.diff(places).min() <= _ALIKE:
        raise ScanError(
            f"{len(single)} slices of one acquisition lie on {len(np.unique(places.round(2)))} "
            "places, with different pixels",
            where=single[0].path.parent,
            fix="keep one slice a place (one phase, one reconstruction) in the folder",
        )
    return [_stack(single, places, decisions)]


def _acquisitions(frames: Sequence[Frame], places: NDArray[Any]) -> list[list[Frame]]:
    """Part frames by acquisition where the acquisitions' ranges overlap; else return one part.

    Acquisitions one after the other, as of a table that moves between them, are one volume.
    """
    by_number: dict[str, list[int]] = {}
    for i, frame in enumerate(frames):
        by_number.setdefault(frame.acquisition, []).append(i)
    spans = sorted((places[i].min(), places[i].max()) for i in by_number.values())
    overlap = any(end >= start - _ALIKE for (_, end), (start, _) in pairwise(spans))
    if len(by_number) == 1 or not overlap:
        return [list(frames)]
    return [[frames[i] for i in index] for index in by_number.values()]


def _stack(frames: Sequence[Frame], places: NDArray[Any], decisions: list[Decision]) -> Stack:
    index, step = _even_index(frames, places)
    first, last = (np.array(frame.position) for frame in (frames[0], frames[-1]))
    row, column, normal = _axes(frames[0])
    slice_step = (last - first) / index[-1] if index[-1] else normal * step
    geometry = Geometry(
        (int(index[-1]) + 1, frames[0].rows, frames[0].columns),
        affine_from_axes(
            first,
            (slice_step, column * frames[0].spacing[0], row * frames[0].spacing[1]),
        ),
    )
    _check_line(frames, index, geometry)
    slots: list[Frame | None] = [None] * geometry.shape[0]
    for i, frame in zip(index, frames, strict=True):
        slots[int(i)] = frame
    missing = slots.count(None)
    if missing:
        decisions.append(
            Decision(
                "slices",
                f"{missing} missing, taken for air",
                f"the slices lie {step:.4g} mm apart, but for gaps",
                warning=True,
            )
        )
    if len(frames) == 1 and frames[0].thickness is None:
        decisions.append(
            Decision("spacing", "1 mm along the normal", "a single slice of unknown thickness")
        )
    return Stack(tuple(slots), geometry, tuple(decisions))


def _without_duplicates(
    frames: Sequence[Frame], same_pixels: SamePixels
) -> tuple[list[Frame], int]:
    """Return the frames sorted along their normal, once each."""
    places = {id(frame): place for frame, place in zip(frames, _project(frames), strict=True)}
    ordered = sorted(frames, key=lambda f: (round(places[id(f)], 2), f.acquisition, f.number))
    kept: list[Frame] = []
    for frame in ordered:
        twins = (
            other for other in kept[-4:] if abs(places[id(other)] - places[id(frame)]) <= _ALIKE
        )
        if not any(same_pixels(other, frame) for other in twins):
            kept.append(frame)
    return kept, len(frames) - len(kept)


def _even_index(frames: Sequence[Frame], places: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return each slice's index on an even grid, and the grid's step in mm."""
    if len(frames) == 1:
        return np.zeros(1, np.int64), float(frames[0].thickness or 1.0)
    steps = np.diff(places)
    step = float(np.median(steps[steps <= 1.5 * steps.min()]))
    whole = np.rint(steps / step)
    off = np.abs(steps - whole * step)
    missing = int(whole.sum()) + 1 - len(frames)
    allowed = _EVEN * step * np.maximum(1.0, whole / 4)
    if missing > max(3, len(frames) / 4) or (off > allowed).any():
        listed = ", ".join(f"{s:.4g}" for s in sorted({round(float(s), 2) for s in steps})[:6])
        raise ScanError(
            f"{len(frames)} slices in uneven steps: {listed} mm",
            where=frames[0].path.parent,
            fix="give slices in even steps, or each group of them in a folder of its own",
        )
    return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64), step


def _check_line(frames: Sequence[Frame], index: NDArray[Any], geometry: Geometry) -> None:
    """Refuse slices that do not lie on one line: no grid holds them."""
    corner = np.zeros((len(frames), 3))
    corner[:, 0] = index
    off = np.linalg.norm(geometry.world(corner) - [frame.position for frame in frames], axis=1)
    if off.max() > max(1.0, _EVEN * geometry.spacing[0]):
        raise ScanError(
            f"the slices do not lie on one line: {off.max():.3g} mm off",
            where=frames[int(off.argmax())].path,
            fix="give each group of aligned slices in a folder of its own",
        )


def _axes(frame: Frame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return unit vectors along a row, along a column, and normal to both."""
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    row, column = (v / (float(np.linalg.norm(v)) or 1.0) for v in (row, column))
    return row, column, np.cross(row, column)


def _project(frames: Sequence[Frame]) -> NDArray[Any]:
    normal = _axes(frames[0])[2]
    places: NDArray[Any] = np.array([frame.position for frame in frames]) @ normal
    return places


def _same_direction(first: Sequence[float], second: Sequence[float]) -> bool:
    a, b = np.array(first).reshape(2, 3), np.array(second).reshape(2, 3)
    return bool(np.all((a * b).sum(1) > np.cos(np.radians(1.0))))
