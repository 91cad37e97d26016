"""Frames of one volume made a stack: sorted along the normal, and checked for what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.scan import Decision

SamePixels = Callable[[Frame, Frame], bool]

ALIKE = 0.01
"""Millimetres: positions that are the same."""

_EVEN = 0.1  # of a step: what positions may differ from an even spacing


@dataclass(frozen=True)
class DicomVolume:
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
    def files(self) -> tuple[Path, ...]:
        """The files of the frames, sorted."""
        return tuple(sorted({frame.path for frame in self.present}))

    @property
    def extent(self) -> float:
        """Millimetres from the first to the last slice."""
        return (self.geometry.shape[0] - 1) * self.geometry.spacing[0]

    def describe(self) -> str:
        """Say in a line what it is; no patient's data."""
        frame, kernel = self.first, self.first.convolution_kernel
        words = [
            str(self.geometry),
            frame.manufacturer.title(),
            f"kernel {kernel}" if kernel else "",
        ]
        return "; ".join([f"series {frame.series_number}", *(word for word in words if word)])


def build_volume(frames: Sequence[Frame], decisions: Sequence[Decision] = ()) -> DicomVolume:
    """Sort the frames of one volume along the slices' normal and make them a stack.

    Parameters
    ----------
    frames:
        A group of `pleura.formats.dicom.grouping.group_frames`.
    decisions:
        What was decided to group them.

    Raises
    ------
    ScanError
        Slices lie at one position, in uneven steps, or not on one line.
    """
    places = project(frames, frames[0])
    order = np.argsort(places, kind="stable")
    ordered, places = [frames[i] for i in order], places[order]
    if len(ordered) > 1 and np.diff(places).min() <= ALIKE:
        raise ScanError(
            f"{len(ordered)} slices of one acquisition lie on {len(np.unique(places.round(2)))} "
            "places, with different pixels",
            where=ordered[0].path.parent,
            hint="keep one slice a place (one phase, one reconstruction) in the folder",
        )
    return _stack(ordered, places, list(decisions))


def remove_duplicates(frames: Sequence[Frame], same_pixels: SamePixels) -> list[Frame]:
    """Return frames sorted along their normal, without those that are equal pixel for pixel.

    ``same_pixels`` is called only for frames at one position.
    """
    places = dict(zip(map(id, frames), project(frames, frames[0]), strict=True))
    ordered = sorted(
        frames, key=lambda f: (round(places[id(f)], 2), f.acquisition, f.instance_number)
    )
    kept: list[Frame] = []
    for frame in ordered:
        near = (f for f in kept[-4:] if abs(places[id(f)] - places[id(frame)]) <= ALIKE)
        if not any(same_pixels(other, frame) for other in near):
            kept.append(frame)
    return kept


def project(frames: Sequence[Frame], first: Frame) -> NDArray[np.float64]:
    """Return the positions of frames in mm along the normal of one of them."""
    places: NDArray[np.float64] = np.array(
        [frame.image_position for frame in frames]
    ) @ slice_normal(first)
    return places


def slice_normal(frame: Frame) -> NDArray[np.float64]:
    """Return the unit vector normal to a frame's rows and columns, in LPS."""
    row, column = (v / (float(np.linalg.norm(v)) or 1.0) for v in _vectors([frame])[0])
    return np.cross(row, column)


def _stack(frames: Sequence[Frame], places: NDArray[Any], decisions: list[Decision]) -> DicomVolume:
    index, step = _even_index(frames, places)
    first, last = (np.array(frame.image_position) for frame in (frames[0], frames[-1]))
    down, along, normal = _axes(frames)
    slice_step = (last - first) / index[-1] if index[-1] else normal * step
    geometry = Geometry(
        (int(index[-1]) + 1, frames[0].rows, frames[0].columns),
        affine_from_axes(first, (slice_step, down, along)),
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
    if len({(frame.pixel_spacing, frame.image_orientation) for frame in frames}) > 1:
        what = "mean of all slices"
        reason = "Pixel Spacing or Image Orientation differs slightly between them"
        decisions.append(Decision("spacing", what, reason))
    if len(frames) == 1 and frames[0].slice_thickness is None:
        decisions.append(
            Decision("spacing", "1 mm along the normal", "a single slice of unknown thickness")
        )
    return DicomVolume(tuple(slots), geometry, tuple(decisions))


def _even_index(frames: Sequence[Frame], places: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return each slice's index on an even grid, and the grid's step in mm."""
    if len(frames) == 1:
        return np.zeros(1, np.int64), float(frames[0].slice_thickness or 1.0)
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
            hint="give slices in even steps, or each group of them in a folder of its own",
        )
    return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64), step


def _check_line(frames: Sequence[Frame], index: NDArray[Any], geometry: Geometry) -> None:
    """Refuse slices that do not lie on one line: no grid holds them."""
    corner = np.zeros((len(frames), 3))
    corner[:, 0] = index
    off = np.linalg.norm(
        geometry.world(corner) - [frame.image_position for frame in frames], axis=1
    )
    if off.max() > max(1.0, _EVEN * geometry.spacing[0]):
        raise ScanError(
            f"the slices do not lie on one line: {off.max():.3g} mm off",
            where=frames[int(off.argmax())].path,
            hint="give each group of aligned slices in a folder of its own",
        )


def _vectors(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return the direction of rows and of columns (frames, 2, 3) in LPS."""
    return np.array([frame.image_orientation for frame in frames], np.float64).reshape(-1, 2, 3)


def _axes(frames: Sequence[Frame]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the mean steps in mm along a column and along a row, and their unit normal."""
    row, column = np.mean(_vectors(frames), 0)
    row, column = (v / (float(np.linalg.norm(v)) or 1.0) for v in (row, column))
    high, wide = np.mean([frame.pixel_spacing for frame in frames], 0)
    return column * high, row * wide, np.cross(row, column)
