"""Grouping of frames into volumes: by geometry first, then by header fields that may be wrong.

A volume is one patient's frames of one size, spacing and orientation. Header fields such as Series
Instance UID and Acquisition Number separate volumes further. Where such a field separates parts of
one evenly spaced volume, the parts are joined again, and a decision reports it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pleura.errors import ScanError
from pleura.formats.dicom.frames import DecodeFrame, Frame
from pleura.formats.dicom.patients import unify_patients
from pleura.formats.dicom.volume import remove_duplicates
from pleura.scan.scan import Decision

FIELDS = {
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
    "frame_of_reference_uid": "Frame of Reference UID",
    "convolution_kernel": "Convolution Kernel",
    "image_type": "Image Type",
    "acquisition": "Acquisition Number",
}
"""Attributes of `Frame` that separate volumes, and their DICOM names."""

_SPACING_TOLERANCE = 1e-3
"""Relative difference of Pixel Spacing within a volume: half a pixel at the edge of 512."""

_MIN_COSINE = np.cos(np.radians(1.0))
"""Cosine of the angle between Image Orientations within a volume."""

_Grid = tuple[tuple[float, ...], tuple[float, ...]]
"""Pixel Spacing and Image Orientation."""


@dataclass(frozen=True)
class FrameGroup:
    """Frames that may be one volume.

    Attributes
    ----------
    frames:
        The frames.
    decisions:
        Decisions about them.
    error:
        Why they are not a volume; None if they may be one.
    """

    frames: tuple[Frame, ...]
    decisions: tuple[Decision, ...] = ()
    error: ScanError | None = None

    @property
    def first(self) -> Frame:
        """One of the frames."""
        return self.frames[0]


def field_value(frame: Frame, field: str) -> Hashable:
    """Return the value of one of the `FIELDS` by which frames are separated.

    It is the folder for a missing Series Instance UID, and the first three values of Image Type.
    """
    if field == "series_instance_uid":
        return frame.series_instance_uid or str(frame.path.parent)
    if field == "image_type":
        return frame.image_type[:3]
    value: Hashable = getattr(frame, field)
    return value


def separate(frames: Sequence[Frame], fields: Sequence[str]) -> list[tuple[Frame, ...]]:
    """Separate frames that differ in any of the fields."""
    parts: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        key = tuple(field_value(frame, field) for field in fields)
        parts.setdefault(key, []).append(frame)
    return [tuple(part) for part in parts.values()]


def separate_by_geometry(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Separate frames by patient, size, Pixel Spacing (to 0.1 %) and orientation (to 1 degree)."""
    for same_size in separate(unify_patients(frames), ("patient", "rows", "columns")):
        grids = sorted({(frame.pixel_spacing, frame.image_orientation) for frame in same_size})
        label = dict(zip(grids, _connected_components(grids), strict=True))
        parts: dict[int, list[Frame]] = {}
        for frame in same_size:
            grid = frame.pixel_spacing, frame.image_orientation
            parts.setdefault(label[grid], []).append(frame)
        yield from parts.values()


def group_series(frames: Sequence[Frame], decode: DecodeFrame) -> FrameGroup:
    """Return the frames of one series without duplicates, or with the error of decoding them."""
    try:
        unique = remove_duplicates(frames, lambda a, b: np.array_equal(decode(a), decode(b)))
    except ScanError as error:
        return FrameGroup(tuple(frames), error=error)
    duplicates = len(frames) - len(unique)
    choice = f"{duplicates} of {len(frames)} slices are ignored"
    decision = Decision("slices", choice, "they are duplicates of others")
    return FrameGroup(tuple(unique), (decision,) if duplicates else ())


def _connected_components(grids: Sequence[_Grid]) -> list[int]:
    """Label grids that are connected by steps within the tolerance."""
    spacings = np.log([spacing for spacing, _ in grids])
    rows, columns = (
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        for vectors in np.array([orientation for _, orientation in grids])
        .reshape(-1, 2, 3)
        .swapaxes(0, 1)
    )
    labels = np.full(len(grids), -1)
    for start in range(len(grids)):
        border = [start] if labels[start] < 0 else []
        labels[border] = start
        while border:
            i = border.pop()
            similar = (np.abs(spacings - spacings[i]) <= _SPACING_TOLERANCE).all(1)
            similar &= (rows @ rows[i] >= _MIN_COSINE) & (columns @ columns[i] >= _MIN_COSINE)
            new = np.flatnonzero(similar & (labels < 0))
            labels[new] = start
            border.extend(new.tolist())
    return labels.tolist()
