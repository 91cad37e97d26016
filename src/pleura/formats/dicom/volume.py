"""Volumes of DICOM frames: sorted along the slice normal, and checked for gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.names import counted
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.scan import Decision

SamePixels = Callable[[Frame, Frame], bool]

_SAME_POSITION = 0.01
"""Millimetres between positions that are regarded as one."""

_STEP_TOLERANCE = 0.1
"""Deviation of a position from even spacing, in steps."""


@dataclass(frozen=True)
class DicomVolume:
    """Evenly spaced frames of one volume.

    Attributes
    ----------
    frames:
        One frame per slice of the grid; None where a slice is missing.
    geometry:
        The grid.
    decisions:
        Decisions that were taken to group and sort the frames.
    """

    frames: tuple[Frame | None, ...]
    geometry: Geometry
    decisions: tuple[Decision, ...]

    @property
    def present(self) -> list[Frame]:
        """The frames of the slices that are not missing."""
        return [frame for frame in self.frames if frame is not None]

    @property
    def first(self) -> Frame:
        """The first frame that is not missing."""
        return self.present[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the frames, sorted."""
        return tuple(sorted({frame.path for frame in self.present}))

    @property
    def extent(self) -> float:
        """Distance from the first to the last slice in mm."""
        return (self.geometry.shape[0] - 1) * self.geometry.spacing[0]

    def describe(self) -> str:
        """Return series number, grid, manufacturer and kernel in one line, without patient data."""
        frame, kernel = self.first, self.first.convolution_kernel
        parts = [f"series {frame.series_number}", str(self.geometry), frame.manufacturer.title()]
        if kernel:
            parts.append(f"kernel {kernel}")
        return "; ".join(part for part in parts if part)


def build_volume(frames: Sequence[Frame], decisions: Sequence[Decision] = ()) -> DicomVolume:
    """Sort the frames of one volume along the slice normal.

    Parameters
    ----------
    frames:
        A group of `pleura.formats.dicom.joining.group_frames`.
    decisions:
        The decisions about the group.

    Raises
    ------
    ScanError
        Several slices have the same position, or the slices are unevenly spaced or not aligned.
    """
    positions = positions_along_normal(frames, frames[0])
    order = np.argsort(positions, kind="stable")
    frames, positions = [frames[i] for i in order], positions[order]
    if len(frames) > 1 and np.diff(positions).min() <= _SAME_POSITION:
        raise ScanError(
            f"{len(frames)} slices of one acquisition have only "
            f"{counted(len(np.unique(positions.round(2))), 'position')}, with different pixels",
            where=frames[0].path.parent,
            hint="keep only one phase and one reconstruction in the folder",
        )
    index, step = _index_on_even_grid(frames, positions)
    geometry = _fit_geometry(frames, index, step)
    _check_alignment(frames, index, geometry)
    slots: list[Frame | None] = [None] * geometry.shape[0]
    for i, frame in zip(index, frames, strict=True):
        slots[int(i)] = frame
    grid_decisions = _grid_decisions(frames, slots.count(None), step)
    return DicomVolume(tuple(slots), geometry, (*decisions, *grid_decisions))


def remove_duplicates(frames: Sequence[Frame], same_pixels: SamePixels) -> list[Frame]:
    """Sort frames along the slice normal, and remove those with the pixels of another one.

    Parameters
    ----------
    frames:
        Frames of one series.
    same_pixels:
        Compares the pixels of two frames; called only for frames at one position.
    """
    positions = dict(zip(map(id, frames), positions_along_normal(frames, frames[0]), strict=True))
    ordered = sorted(
        frames, key=lambda f: (round(positions[id(f)], 2), f.acquisition, f.instance_number)
    )
    kept: list[Frame] = []
    for frame in ordered:
        position = positions[id(frame)]
        at_position = (f for f in kept[-4:] if abs(positions[id(f)] - position) <= _SAME_POSITION)
        if not any(same_pixels(other, frame) for other in at_position):
            kept.append(frame)
    return kept


def positions_along_normal(frames: Sequence[Frame], first: Frame) -> NDArray[np.float64]:
    """Return the positions (n,) of frames along the slice normal of ``first``, in mm."""
    positions = np.array([frame.image_position for frame in frames])
    projected: NDArray[np.float64] = positions @ slice_normal(first)
    return projected


def slice_normal(frame: Frame) -> NDArray[np.float64]:
    """Return the unit vector (3,) normal to a frame, in LPS."""
    row, column = (_normalised(vector) for vector in _orientations([frame])[0])
    return np.cross(row, column)


def _grid_decisions(frames: Sequence[Frame], missing: int, step: float) -> list[Decision]:
    decisions = []
    if missing:
        decisions.append(
            Decision(
                "slices",
                f"{missing} missing, filled with air",
                f"the slices are {step:.4g} mm apart, except at gaps",
                warning=True,
            )
        )
    if len({(frame.pixel_spacing, frame.image_orientation) for frame in frames}) > 1:
        reason = "Pixel Spacing or Image Orientation differs slightly between them"
        decisions.append(Decision("spacing", "mean of all slices", reason))
    if len(frames) == 1 and frames[0].slice_thickness is None:
        reason = "a single slice of unknown thickness"
        decisions.append(Decision("spacing", "1 mm along the normal", reason))
    return decisions


def _index_on_even_grid(
    frames: Sequence[Frame], positions: NDArray[np.float64]
) -> tuple[NDArray[np.int64], float]:
    """Return the index of each slice on an even grid, and the step of the grid in mm."""
    if len(frames) == 1:
        return np.zeros(1, np.int64), float(frames[0].slice_thickness or 1.0)
    steps = np.diff(positions)
    step = float(np.median(steps[steps <= 1.5 * steps.min()]))
    rounded = np.rint(steps / step)
    deviation = np.abs(steps - rounded * step)
    missing = int(rounded.sum()) + 1 - len(frames)
    allowed = _STEP_TOLERANCE * step * np.maximum(1.0, rounded / 4)
    if missing > max(3, len(frames) / 4) or (deviation > allowed).any():
        listed = ", ".join(f"{s:.4g}" for s in sorted({round(float(s), 2) for s in steps})[:6])
        raise ScanError(
            f"{len(frames)} slices are unevenly spaced: {listed} mm",
            where=frames[0].path.parent,
            hint="move each group of evenly spaced slices to a separate folder",
        )
    return np.concatenate([[0], np.cumsum(rounded)]).astype(np.int64), step


def _fit_geometry(frames: Sequence[Frame], index: NDArray[np.int64], step: float) -> Geometry:
    """Return the grid from the first to the last slice, with the mean axes of all slices."""
    first, last = (np.array(frame.image_position) for frame in (frames[0], frames[-1]))
    row, column = (_normalised(vector) for vector in np.mean(_orientations(frames), 0))
    between_rows, between_columns = np.mean([frame.pixel_spacing for frame in frames], 0)
    slice_step = (last - first) / index[-1] if index[-1] else np.cross(row, column) * step
    return Geometry(
        (int(index[-1]) + 1, frames[0].rows, frames[0].columns),
        affine_from_axes(first, (slice_step, column * between_rows, row * between_columns)),
    )


def _check_alignment(frames: Sequence[Frame], index: NDArray[np.int64], geometry: Geometry) -> None:
    """Raise if the first pixels of the slices are not on one line: no grid represents them."""
    corners = np.zeros((len(frames), 3))
    corners[:, 0] = index
    positions = [frame.image_position for frame in frames]
    deviation = np.linalg.norm(geometry.index_to_world(corners) - positions, axis=1)
    if deviation.max() > max(1.0, _STEP_TOLERANCE * geometry.spacing[0]):
        raise ScanError(
            f"the slice is {deviation.max():.3g} mm out of line with the others",
            where=frames[int(deviation.argmax())].path,
            hint="move each group of aligned slices to a separate folder",
        )


def _orientations(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return the directions (frames, 2, 3) of rows and of columns, in LPS."""
    orientations = [frame.image_orientation for frame in frames]
    return np.array(orientations, np.float64).reshape(-1, 2, 3)


def _normalised(vector: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(vector / (float(np.linalg.norm(vector)) or 1.0))
