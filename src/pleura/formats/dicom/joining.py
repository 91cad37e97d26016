"""Joining of frames that header fields separate, although they are one evenly spaced volume."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pleura.errors import ScanError
from pleura.formats.dicom.continuity import are_continuous
from pleura.formats.dicom.frames import DecodeFrame, Frame
from pleura.formats.dicom.grouping import (
    FIELDS,
    FrameGroup,
    field_value,
    group_series,
    separate,
    separate_by_geometry,
)
from pleura.formats.dicom.volume import DicomVolume, build_volume, positions_along_normal
from pleura.scan.scan import Decision

_SERIES = ("study_instance_uid", "series_instance_uid")
_JOINED_BY = (tuple(FIELDS)[:-1], _SERIES, _SERIES[:1], ())
"""Fields in which parts agree to be joined: first the acquisitions of a series, studies last."""

_THICKNESS_TOLERANCE = 0.2
"""Relative difference of Slice Thickness within a volume."""

_MAX_TINY = 2
"""Slices of a part that is not a volume by itself."""


def group_frames(frames: Sequence[Frame], decode: DecodeFrame) -> list[FrameGroup]:
    """Group frames into those that may be one volume, without duplicates.

    Patient, size, Pixel Spacing (to 0.1 %) and orientation (to 1 degree) of a group agree. Parts
    that differ in study, series, frame of reference, kernel, image type or acquisition are separate
    groups, unless together they are one evenly spaced volume and the parts alone are less
    plausible: see `_Parts.joining_decisions`.

    Parameters
    ----------
    frames:
        Frames of any number of patients.
    decode:
        Returns the HU of a frame; called for frames at one position, and where geometry and header
        are not sufficient.
    """
    groups: list[FrameGroup] = []
    for same_geometry in separate_by_geometry(frames):
        series = [group_series(part, decode) for part in separate(same_geometry, _SERIES)]
        groups.extend(group for group in series if group.error)
        parts = [
            FrameGroup(part, group.decisions)
            for group in series
            if not group.error
            for part in separate(group.frames, tuple(FIELDS))
        ]
        for fields in _JOINED_BY:
            agreeing: dict[Hashable, list[FrameGroup]] = {}
            for part in parts:
                key = tuple(field_value(part.first, field) for field in fields)
                agreeing.setdefault(key, []).append(part)
            parts = [part for group in agreeing.values() for part in _join(group, decode)]
        groups.extend(parts)
    return groups


def _join(parts: list[FrameGroup], decode: DecodeFrame) -> list[FrameGroup]:
    """Join the parts of one volume: all of them, or only those that are not plausible alone."""
    if len(parts) < 2:
        return parts
    weak = [part for part in parts if _is_weak(part)]
    for joined in (parts, weak):
        decisions = _Parts(joined, decode).joining_decisions() if len(joined) > 1 else None
        if decisions is not None:
            rest = [] if joined is parts else [part for part in parts if part not in weak]
            frames = tuple(frame for part in joined for frame in part.frames)
            earlier = dict.fromkeys(decision for part in joined for decision in part.decisions)
            return [FrameGroup(frames, (*earlier, *decisions)), *rest]
    return parts


def _build_if_even(frames: Sequence[Frame]) -> DicomVolume | None:
    """Return frames as a volume; None if they are not evenly spaced."""
    try:
        return build_volume(frames)
    except ScanError:
        return None


def _is_weak(part: FrameGroup) -> bool:
    """Return whether a part alone is not plausible: uneven, with gaps, or one or two slices."""
    volume = _build_if_even(part.frames)
    return volume is None or None in volume.frames or len(part.frames) <= _MAX_TINY


@dataclass(frozen=True)
class _Parts:
    """Two or more groups of frames that may be parts of one volume."""

    groups: Sequence[FrameGroup]
    decode: DecodeFrame

    def joining_decisions(self) -> tuple[Decision, ...] | None:
        """Return the decisions with which the parts are joined; None if they stay separate.

        Acquisitions of one series that follow each other are one volume. Other parts must be evenly
        spaced together, and in addition one of these conditions must be met:

        * They are of one series and follow each other.
        * No part is a volume by itself: each is uneven, has gaps or is tiny, and they fill each
          other's gaps or have one or two slices each.
        * Series number, description and thickness agree, and they follow each other in one study.
        * These agree, the parts are interleaved, and the pixels are those of one breath-hold.
        """
        following = self._follow_each_other()
        differing = self._differing_fields()
        if following and differing == ["acquisition"]:
            return ()
        union = _build_if_even([frame for group in self.groups for frame in group.frames])
        if union is None or len(union.present) < 3:
            return None
        if union.frames.count(None) > len(union.frames) / 10:
            return None
        weak = [_is_weak(group) for group in self.groups]
        if not self._are_one_volume(union, following=following, weak=all(weak)):
            return None
        reason = (
            f"they differ in {' and '.join(FIELDS[field] for field in differing)}, "
            "but together they are evenly spaced"
        )
        minor = {"acquisition", "convolution_kernel", "image_type"}
        certain = (any(weak) or following) and set(differing) <= minor
        choice = f"{len(union.present)} slices from {len(self.groups)} groups are joined"
        return (Decision("series", choice, reason, warning=not certain),)

    def _are_one_volume(self, union: DicomVolume, *, following: bool, weak: bool) -> bool:
        """Return whether parts that are evenly spaced together are one volume."""
        differing = self._differing_fields()
        of_one_study = "study_instance_uid" not in differing
        of_one_series = of_one_study and "series_instance_uid" not in differing
        if following and of_one_series:
            return True
        if not self._agree("convolution_kernel") or not self._agree("image_type"):
            return False
        tiny = all(len(group.frames) <= _MAX_TINY for group in self.groups)
        if weak and (tiny or not following):
            return of_one_study or self._are_continuous(union)
        described = self._agree("series_number") and self._agree("series_description")
        if "series_instance_uid" in differing and not described:
            return False
        if not self._are_of_one_thickness():
            return False
        return of_one_study if following else self._are_continuous(union)

    def _differing_fields(self) -> list[str]:
        firsts = [group.first for group in self.groups]
        return [f for f in FIELDS if len({field_value(frame, f) for frame in firsts}) > 1]

    def _follow_each_other(self) -> bool:
        """Return whether the ranges of the parts along the normal do not overlap."""
        first = self.groups[0].first
        positions = [positions_along_normal(group.frames, first) for group in self.groups]
        ranges = sorted((p.min(), p.max()) for p in positions)
        return all(end < start for (_, end), (start, _) in pairwise(ranges))

    def _agree(self, field: str) -> bool:
        """Return whether the parts have one value of a field, or none."""
        return len({field_value(group.first, field) for group in self.groups} - {"", (), 0}) <= 1

    def _are_of_one_thickness(self) -> bool:
        thicknesses = [group.first.slice_thickness for group in self.groups]
        known = [thickness for thickness in thicknesses if thickness]
        return not known or max(known) <= (1 + _THICKNESS_TOLERANCE) * min(known)

    def _are_continuous(self, union: DicomVolume) -> bool:
        part_of = {
            (frame.path, frame.index): i
            for i, group in enumerate(self.groups)
            for frame in group.frames
        }
        frames = union.present
        step = union.geometry.orthogonal_spacing[0]
        gap = abs((union.first.slice_thickness or 0) - step)
        touching = self._agree_in_study() and gap <= _THICKNESS_TOLERANCE * step
        parts = [part_of[frame.path, frame.index] for frame in frames]
        return are_continuous(frames, parts, self.decode, touching=touching)

    def _agree_in_study(self) -> bool:
        return len({group.first.study_instance_uid for group in self.groups}) == 1
