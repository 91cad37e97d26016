"""What a chosen stack leaves out of its study, and whether that is a part of the lungs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.read import MIN_SLICES, DicomContents, RejectedFrames
from pleura.formats.dicom.volume import DicomVolume, project, slice_normal
from pleura.scan.scan import Decision

_REACH = 10.0
"""Millimetres by which slices that are left out must lie beyond the chosen ones to be reported."""
_BETWEEN = 0.25
"""Of a step: how far from every chosen slice another one must be to lie between them."""
_COVERED, _CENTRED = 0.75, 0.02
"""Of a step: the thickness below which slices leave gaps, and how far from the middle of a gap
slices of another series may lie that fill it."""
_PARALLEL = np.cos(np.radians(20.0))


def select_volume(
    contents: DicomContents, source: Path, series: str | None
) -> tuple[DicomVolume, tuple[Decision, ...]]:
    """Return the stack that is meant, and the decisions about what is left out.

    Parameters
    ----------
    contents:
        What the folder holds; at least one stack.
    source:
        The folder, for messages.
    series:
        Series number or Series Instance UID; None for the best.

    Raises
    ------
    ScanError
        There are several patients, or no such series, or it cannot be read.
    """
    patients = {stack.first.patient for stack in contents.volumes}
    if len(patients) > 1:
        raise ScanError(
            f"the folder holds scans of {len(patients)} patients",
            where=source,
            hint="give one patient's folder, or segment the folder above as a cohort",
        )

    def meant(frame: Frame) -> bool:
        return series is None or series in (str(frame.series_number), frame.series_instance_uid)

    stacks = [stack for stack in contents.volumes if any(map(meant, stack.present))]
    refused = [one for one in contents.rejected if any(map(meant, one.frames))]
    if not stacks:
        if refused:
            raise refused[0].error
        have = ", ".join(str(stack.first.series_number) for stack in contents.volumes)
        raise ScanError(
            f"no series {series}", where=source, hint=f"choose one of {have}; see pleura info"
        )
    return stacks[0], selection_decisions(stacks[0], stacks[1:], refused, warn=series is None)


class StudyIndex:
    """Finds what a folder holds besides a stack, of its study or its series."""

    def __init__(self, contents: DicomContents) -> None:
        self._stacks: dict[Any, list[DicomVolume]] = {}
        self._refused: dict[Any, list[RejectedFrames]] = {}
        for stack in contents.volumes:
            for key in _keys(stack.first):
                self._stacks.setdefault(key, []).append(stack)
        for one in contents.rejected:
            for key in _keys(one.frames[0]):
                self._refused.setdefault(key, []).append(one)

    def of(self, chosen: DicomVolume) -> tuple[list[DicomVolume], list[RejectedFrames]]:
        """Return the other stacks, and the frames that are no volume."""
        keys = _keys(chosen.first)
        stacks = {id(one): one for key in keys for one in self._stacks.get(key, ())}
        refused = {id(one): one for key in keys for one in self._refused.get(key, ())}
        return [one for one in stacks.values() if one is not chosen], list(refused.values())


def _keys(frame: Frame) -> list[Any]:
    return [study_key(frame), *([frame.series_instance_uid] if frame.series_instance_uid else [])]


def study_key(frame: Frame) -> tuple[str, str]:
    """Return what a frame's study is known by: its patient and UID, or else its folder."""
    return frame.patient, frame.study_instance_uid or str(frame.path.parent)


def selection_decisions(
    chosen: DicomVolume,
    others: Sequence[DicomVolume],
    refused: Sequence[RejectedFrames],
    *,
    warn: bool,
) -> tuple[Decision, ...]:
    """Return the decisions about a stack that was chosen among others.

    A decision about "coverage" reports slices of the chosen volume that are left out, and series
    that cover more.

    Parameters
    ----------
    chosen:
        The stack that is read.
    others, refused:
        Stacks and frames of the same patient that are not read.
    warn:
        Whether the choice between several series is a warning by itself.
    """
    decisions = []
    left_out = [*(other.present for other in others), *(list(one.frames) for one in refused)]
    if len(chosen.present) < MIN_SLICES:
        left_out.append([frame for frames in left_out for frame in frames])
    lost = dict.fromkeys(reason for frames in left_out if (reason := _lost(chosen, frames)))
    if lost:
        what = f"not all slices are taken: {len(chosen.present)} of {_count(chosen, left_out)}"
        decisions.append(Decision("coverage", what, "; ".join(lost), warning=True))
    if refused:
        what = f"{len(refused)} series cannot be read"
        decisions.append(Decision("series", what, refused[0].error.message, warning=True))
    if others:
        listed = "; ".join(other.describe() for other in others[:3])
        reason = f"by slices, original, axial, what covers most; not {listed}"
        part = any(_same_series(chosen.first, other.first) for other in others)
        decisions.append(Decision("series", chosen.describe(), reason, warning=warn or part))
    return tuple(decisions)


def _count(chosen: DicomVolume, left_out: Sequence[Sequence[Frame]]) -> int:
    frames = {(frame.path, frame.index) for frames in left_out for frame in frames}
    return len(chosen.present) + len(frames)


def _lost(chosen: DicomVolume, left_out: Sequence[Frame]) -> str:
    """Say what the chosen stack lacks because frames are left out; empty where nothing."""
    first, normal = chosen.first, slice_normal(chosen.first)
    frames = [frame for frame in left_out if abs(normal @ slice_normal(frame)) > _PARALLEL]
    if not frames:
        return ""
    ours, theirs = project(chosen.present, first), project(frames, first)
    belongs = any(_same_series(first, frame) or _alike(first, frame) for frame in frames)
    belongs |= _fills_gaps(chosen, frames)
    beyond = max(ours.min() - theirs.min(), theirs.max() - ours.max())
    if beyond > _REACH and (belongs or np.ptp(theirs) > np.ptp(ours) + _REACH):
        return f"the slices left out reach {beyond:.0f} mm further"
    inside = theirs[(theirs > ours.min()) & (theirs < ours.max())]
    off = np.abs(inside[:, None] - ours).min(1) if inside.size else inside
    if belongs and (off > _BETWEEN * chosen.geometry.steps[0]).any():
        return "the slices left out lie between those taken"
    return ""


def _fills_gaps(chosen: DicomVolume, frames: Sequence[Frame]) -> bool:
    """Whether frames lie in the middle of gaps that the slices of a stack leave by thickness."""
    first, step = chosen.first, chosen.geometry.steps[0]
    kinds = {
        (f.study_instance_uid, f.frame_of_reference_uid, f.convolution_kernel, f.image_type)
        for f in (first, *frames)
    }
    gaps = first.slice_thickness is None or first.slice_thickness <= _COVERED * step
    if len(kinds) > 1 or not gaps or abs(len(frames) - len(chosen.present)) > 1:
        return False
    ours, theirs = project(chosen.present, first), project(frames, first)
    off = np.abs(theirs[:, None] - ours).min(1) / step
    return bool((np.abs(off - 0.5) < _CENTRED).all())


def _same_series(one: Frame, other: Frame) -> bool:
    return one.series_instance_uid == other.series_instance_uid != ""


def _alike(one: Frame, other: Frame) -> bool:
    """Whether two frames are of one kind by what describes a series."""
    named = (
        "patient",
        "study_instance_uid",
        "convolution_kernel",
        "image_type",
        "series_number",
        "series_description",
    )
    return all(getattr(one, name) == getattr(other, name) for name in named)
