"""Selection of the volume that a folder is read as, and decisions about what is left out."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.read import MIN_SLICES, DicomContents, RejectedFrames
from pleura.formats.dicom.volume import DicomVolume, positions_along_normal, slice_normal
from pleura.scan.scan import Decision

_logger = logging.getLogger(__name__)

_MIN_EXTENSION = 10.0
"""Millimetres by which slices that are left out must extend the volume to be reported."""

_MIN_DISTANCE = 0.25
"""Distance from every selected slice, in steps, from which another slice is between them."""

_MAX_COVERAGE = 0.75
"""Slice thickness, in steps, up to which slices leave gaps."""

_MAX_DECENTRING = 0.02
"""Distance from the middle of a gap, in steps, up to which a slice of another series fills it."""

_PARALLEL = np.cos(np.radians(20.0))


def select_volume(
    contents: DicomContents, source: Path, series: str | None
) -> tuple[DicomVolume, tuple[Decision, ...]]:
    """Select the volume to read, and return the decisions about what is left out.

    Parameters
    ----------
    contents:
        Contents of the folder, with at least one volume.
    source:
        The folder, for messages.
    series:
        Series Number or Series Instance UID; None for the preferred volume.

    Raises
    ------
    ScanError
        The folder contains scans of several patients, or the series is missing or not readable.
    """
    patients = {volume.first.patient for volume in contents.volumes}
    if len(patients) > 1:
        raise ScanError(
            f"the folder contains scans of {len(patients)} patients",
            where=source,
            hint="pass the folder of one patient, or segment the parent folder as a cohort",
        )

    def is_selected(frame: Frame) -> bool:
        return series is None or series in (str(frame.series_number), frame.series_instance_uid)

    volumes = [volume for volume in contents.volumes if any(map(is_selected, volume.present))]
    rejected = [r for r in contents.rejected if any(map(is_selected, r.frames))]
    if not volumes:
        if rejected:
            raise rejected[0].error
        available = ", ".join(str(volume.first.series_number) for volume in contents.volumes)
        raise ScanError(
            f"there is no series {series}",
            where=source,
            hint=f"choose one of {available}; `pleura info` lists them",
        )
    decisions = selection_decisions(volumes[0], volumes[1:], rejected, warn=series is None)
    _logger.info("Selected %s", volumes[0].describe())
    return volumes[0], decisions


class StudyIndex:
    """Index of volumes and rejected frames by study and series.

    Parameters
    ----------
    contents:
        Contents of a folder.
    """

    def __init__(self, contents: DicomContents) -> None:
        self._volumes: dict[Hashable, list[DicomVolume]] = {}
        self._rejected: dict[Hashable, list[RejectedFrames]] = {}
        for volume in contents.volumes:
            for key in _index_keys(volume.first):
                self._volumes.setdefault(key, []).append(volume)
        for rejected in contents.rejected:
            for key in _index_keys(rejected.frames[0]):
                self._rejected.setdefault(key, []).append(rejected)

    def others(self, volume: DicomVolume) -> tuple[list[DicomVolume], list[RejectedFrames]]:
        """Return the other volumes and the rejected frames of the volume's study or series."""
        keys = _index_keys(volume.first)
        volumes = {id(v): v for key in keys for v in self._volumes.get(key, ())}
        rejected = {id(r): r for key in keys for r in self._rejected.get(key, ())}
        return [v for v in volumes.values() if v is not volume], list(rejected.values())


def _index_keys(frame: Frame) -> list[Hashable]:
    series = frame.series_instance_uid
    return [study_key(frame), *([series] if series else [])]


def study_key(frame: Frame) -> tuple[str, str]:
    """Return a key of the study of a frame: patient and UID, or patient and folder without UID."""
    return frame.patient, frame.study_instance_uid or str(frame.path.parent)


def selection_decisions(
    selected: DicomVolume,
    others: Sequence[DicomVolume],
    rejected: Sequence[RejectedFrames],
    *,
    warn: bool,
) -> tuple[Decision, ...]:
    """Return the decisions about a volume that was selected among others.

    A decision with the topic "coverage" reports slices of the volume that are left out, and series
    that cover more.

    Parameters
    ----------
    selected:
        The volume that is read.
    others, rejected:
        Volumes and frames of the same patient that are not read.
    warn:
        Whether the selection among several series is a warning by itself.
    """
    decisions = []
    left_out = [*(other.present for other in others), *(list(r.frames) for r in rejected)]
    if len(selected.present) < MIN_SLICES:
        left_out.append([frame for frames in left_out for frame in frames])
    losses = dict.fromkeys(
        loss for frames in left_out if (loss := _lost_coverage(selected, frames))
    )
    if losses:
        total = len(selected.present) + _count(left_out)
        choice = f"only {len(selected.present)} of {total} slices are read"
        decisions.append(Decision("coverage", choice, "; ".join(losses), warning=True))
    if rejected:
        choice = f"{len(rejected)} series cannot be read"
        decisions.append(Decision("series", choice, rejected[0].error.message, warning=True))
    if others:
        listed = "; ".join(other.describe() for other in others[:3])
        reason = f"preferred by slices, image type, orientation and coverage to {listed}"
        same_series = any(_of_same_series(selected.first, other.first) for other in others)
        decisions.append(
            Decision("series", selected.describe(), reason, warning=warn or same_series)
        )
    return tuple(decisions)


def _count(left_out: Sequence[Sequence[Frame]]) -> int:
    return len({(frame.path, frame.index) for frames in left_out for frame in frames})


def _lost_coverage(selected: DicomVolume, left_out: Sequence[Frame]) -> str:
    """Return the part of the patient that is lost because frames are left out; empty if none."""
    first, normal = selected.first, slice_normal(selected.first)
    frames = [frame for frame in left_out if abs(normal @ slice_normal(frame)) > _PARALLEL]
    if not frames:
        return ""
    kept = positions_along_normal(selected.present, first)
    omitted = positions_along_normal(frames, first)
    is_related = any(
        _of_same_series(first, frame) or _similar_series(first, frame) for frame in frames
    )
    is_related |= _fill_gaps(selected, frames)
    extension = max(kept.min() - omitted.min(), omitted.max() - kept.max())
    if extension > _MIN_EXTENSION and (
        is_related or np.ptp(omitted) > np.ptp(kept) + _MIN_EXTENSION
    ):
        return f"slices that are not read reach {extension:.0f} mm further"
    inside = omitted[(omitted > kept.min()) & (omitted < kept.max())]
    distance = np.abs(inside[:, None] - kept).min(1) if inside.size else inside
    if is_related and (distance > _MIN_DISTANCE * selected.geometry.orthogonal_spacing[0]).any():
        return "other slices between them are not read"
    return ""


def _fill_gaps(selected: DicomVolume, frames: Sequence[Frame]) -> bool:
    """Return whether frames are in the middle of gaps between the slices of a volume."""
    first, step = selected.first, selected.geometry.orthogonal_spacing[0]
    kinds = {
        (f.study_instance_uid, f.frame_of_reference_uid, f.convolution_kernel, f.image_type)
        for f in (first, *frames)
    }
    gaps = first.slice_thickness is None or first.slice_thickness <= _MAX_COVERAGE * step
    if len(kinds) > 1 or not gaps or abs(len(frames) - len(selected.present)) > 1:
        return False
    kept = positions_along_normal(selected.present, first)
    omitted = positions_along_normal(frames, first)
    distance = np.abs(omitted[:, None] - kept).min(1) / step
    return bool((np.abs(distance - 0.5) < _MAX_DECENTRING).all())


def _of_same_series(first: Frame, second: Frame) -> bool:
    return first.series_instance_uid == second.series_instance_uid != ""


def _similar_series(first: Frame, second: Frame) -> bool:
    """Return whether two frames agree in the attributes that describe a series."""
    return _series_attributes(first) == _series_attributes(second)


def _series_attributes(frame: Frame) -> tuple[Hashable, ...]:
    return (
        frame.patient,
        frame.study_instance_uid,
        frame.convolution_kernel,
        frame.image_type,
        frame.series_number,
        frame.series_description,
    )
