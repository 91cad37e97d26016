"""Frames grouped into volumes: by geometry first, then by header fields that may be wrong.

A volume is one patient's frames of one size, spacing and direction. Header fields such as Series
Instance UID and Acquisition Number separate volumes further. Where such a field separates parts of
one evenly spaced stack, the parts are joined again, and a decision reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.patients import unify_patients
from pleura.formats.dicom.volume import DicomVolume, build_volume, project, remove_duplicates
from pleura.scan.scan import Decision
from pleura.typing import AnyArray

Decode = Callable[[Frame], AnyArray]

_SPACING = 1e-3
"""Relative difference of Pixel Spacing within a volume: half a pixel at the edge of 512."""
_DIRECTION = np.cos(np.radians(1.0))
_THICKNESS = 0.2
"""Relative difference of Slice Thickness within a volume."""
_TINY = 2
"""Slices of a part that is no volume by itself."""
_SMOOTH, _DISSIMILAR = 0.75, 1.1
"""Difference of neighbours by that of second neighbours. Chest CT of one breath has 0.53 to 0.71 at
steps of 2.5 to 48 mm, also with noise of 100 HU; two breaths interleaved have more, up to 2; noise
alone has 1. Measured on seven whole chests."""
_SEAMS = 16
"""Pairs of neighbours that are compared."""

_FIELDS = {
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
    "frame_of_reference_uid": "Frame of Reference UID",
    "convolution_kernel": "Convolution Kernel",
    "kind": "Image Type",
    "acquisition": "Acquisition Number",
}
_LEVELS = (
    tuple(_FIELDS)[:-1],
    ("study_instance_uid", "series_instance_uid"),
    ("study_instance_uid",),
    (),
)
"""Fields that parts agree in to be joined: first the acquisitions of a series, studies last."""


@dataclass(frozen=True)
class Group:
    """Frames that can be one volume, the decisions that made them so, or why they are none."""

    frames: tuple[Frame, ...]
    decisions: tuple[Decision, ...] = ()
    error: ScanError | None = None

    @property
    def first(self) -> Frame:
        """One of the frames."""
        return self.frames[0]


def group_frames(frames: Sequence[Frame], decode: Decode) -> list[Group]:
    """Group frames into those that can be one volume, without duplicates.

    Patient, size, Pixel Spacing (to 0.1 %) and orientation (to 1 degree) of a group agree. Parts
    that differ in study, series, frame of reference, kernel, image type or acquisition are separate
    groups, unless together they are one evenly spaced stack and the parts alone are less plausible:
    see `_decisions_to_join`.

    Parameters
    ----------
    frames:
        Frames of any number of patients.
    decode:
        Returns a frame's HU; called for frames at one position, and where geometry and header
        do not decide.
    """
    groups: list[Group] = []
    for family in _families(unify_patients(frames)):
        series = [
            _group(part, decode)
            for part in _separate(family, "study_instance_uid", "series_instance_uid")
        ]
        groups.extend(group for group in series if group.error)
        parts = [
            Group(part, group.decisions)
            for group in series
            if not group.error
            for part in _separate(group.frames, *_FIELDS)
        ]
        for fields in _LEVELS:
            together: dict[tuple[Any, ...], list[Group]] = {}
            for part in parts:
                together.setdefault(_values(part.first, fields), []).append(part)
            parts = [one for some in together.values() for one in _join(some, decode)]
        groups.extend(parts)
    return groups


def _group(frames: Sequence[Frame], decode: Decode) -> Group:
    """Return the frames of one series without duplicates."""
    try:
        single = remove_duplicates(
            frames, lambda one, other: np.array_equal(decode(one), decode(other))
        )
    except ScanError as error:
        return Group(tuple(frames), error=error)
    left_out = len(frames) - len(single)
    what = f"{left_out} of {len(frames)} slices left out"
    said = Decision("slices", what, "they are duplicates, pixel for pixel")
    return Group(tuple(single), (said,) if left_out else ())


def _values(frame: Frame, fields: Sequence[str]) -> tuple[Any, ...]:
    return tuple(_value(frame, field) for field in fields)


def _value(frame: Frame, field: str) -> Any:
    if field == "series_instance_uid":
        return frame.series_instance_uid or str(frame.path.parent)
    return frame.image_type[:3] if field == "kind" else getattr(frame, field)


def _separate(frames: Sequence[Frame], *fields: str) -> list[tuple[Frame, ...]]:
    """Separate frames that differ in any of the fields."""
    parts: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in frames:
        parts.setdefault(_values(frame, fields), []).append(frame)
    return [tuple(part) for part in parts.values()]


def _families(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Separate frames by patient, size, and what differs in spacing or direction."""
    for alike in _separate(frames, "patient", "rows", "columns"):
        grids = sorted({(frame.pixel_spacing, frame.image_orientation) for frame in alike})
        label = dict(zip(grids, _connected(grids), strict=True))
        families: dict[int, list[Frame]] = {}
        for frame in alike:
            families.setdefault(label[frame.pixel_spacing, frame.image_orientation], []).append(
                frame
            )
        yield from families.values()


def _connected(grids: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]) -> list[int]:
    """Label spacings and orientations that are connected by steps within the tolerance."""
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
            near = (np.abs(spacings - spacings[i]) <= _SPACING).all(1)
            near &= (rows @ rows[i] >= _DIRECTION) & (columns @ columns[i] >= _DIRECTION)
            new = np.flatnonzero(near & (labels < 0))
            labels[new] = start
            border.extend(new.tolist())
    return labels.tolist()


def _join(parts: list[Group], decode: Decode) -> list[Group]:
    """Join the parts of one volume: all of them, or else those that are none by themselves."""
    if len(parts) < 2:
        return parts
    stacks = {id(part): _stack(part.frames) for part in parts}
    weak = [part for part in parts if _is_weak(stacks[id(part)], part)]
    for some in (parts, weak):
        decisions = _decisions_to_join(some, stacks, decode) if len(some) > 1 else None
        if decisions is not None:
            rest = [] if some is parts else [part for part in parts if part not in weak]
            frames = tuple(frame for part in some for frame in part.frames)
            said = dict.fromkeys(decision for part in some for decision in part.decisions)
            return [Group(frames, (*said, *decisions)), *rest]
    return parts


def _stack(frames: Sequence[Frame]) -> DicomVolume | None:
    """Return the frames as an evenly spaced stack; None where they are none."""
    try:
        return build_volume(frames)
    except ScanError:
        return None


def _is_weak(stack: DicomVolume | None, part: Group) -> bool:
    """Whether a part is no plausible volume: uneven, with gaps, or of one or two slices."""
    return stack is None or None in stack.frames or len(part.frames) <= _TINY


def _decisions_to_join(
    parts: Sequence[Group], stacks: dict[int, DicomVolume | None], decode: Decode
) -> tuple[Decision, ...] | None:
    """Return the decisions with which parts are joined; None where they stay separate.

    Acquisitions of one series that follow each other are one volume. Other parts must be evenly
    spaced together, and in addition one of these must hold:

    * They are of one series and follow each other.
    * No part is a volume by itself: each is uneven, has gaps or is tiny, and they fill each other's
      gaps or have one or two slices each.
    * Series number, description and thickness agree, and they follow each other in one study.
    * These agree, the parts lie between each other, and the pixels are those of one breath.
    """
    firsts = [part.first for part in parts]
    differing = [f for f in _FIELDS if len({_value(frame, f) for frame in firsts}) > 1]
    following = _follow_each_other(parts)
    if following and differing == ["acquisition"]:
        return ()
    union = _stack([frame for part in parts for frame in part.frames])
    if union is None or len(union.present) < 3 or union.frames.count(None) > len(union.frames) / 10:
        return None
    weak = [_is_weak(stacks[id(part)], part) for part in parts]
    if not _is_one_volume(parts, union, differing, decode, following=following, weak=all(weak)):
        return None
    reason = (
        f"{' and '.join(_FIELDS[field] for field in differing)} separated them, "
        "and together they are evenly spaced"
    )
    certain = (any(weak) or following) and set(differing) <= {
        "acquisition",
        "convolution_kernel",
        "kind",
    }
    what = f"{len(union.present)} slices joined from {len(parts)} parts"
    return (Decision("series", what, reason, warning=not certain),)


def _is_one_volume(
    parts: Sequence[Group],
    union: DicomVolume,
    differing: Sequence[str],
    decode: Decode,
    *,
    following: bool,
    weak: bool,
) -> bool:
    """Tell whether parts that are evenly spaced together are one volume."""
    if following and not {"study_instance_uid", "series_instance_uid"} & set(differing):
        return True
    if not all(_agree(parts, field) for field in ("convolution_kernel", "kind")):
        return False
    tiny = all(len(part.frames) <= _TINY for part in parts)
    if weak and (tiny or not following):
        return "study_instance_uid" not in differing or _is_one_breath(parts, union, decode)
    described = all(_agree(parts, field) for field in ("series_number", "series_description"))
    if ("series_instance_uid" in differing and not described) or not _of_one_thickness(parts):
        return False
    return (
        "study_instance_uid" not in differing if following else _is_one_breath(parts, union, decode)
    )


def _follow_each_other(parts: Sequence[Group]) -> bool:
    """Whether the ranges of the parts along the normal do not overlap."""
    places = [project(part.frames, parts[0].first) for part in parts]
    spans = sorted((place.min(), place.max()) for place in places)
    return all(end < start for (_, end), (start, _) in pairwise(spans))


def _agree(parts: Sequence[Group], field: str) -> bool:
    """Whether the parts have one value of a field, or none."""
    return len({_value(part.first, field) for part in parts} - {"", (), 0}) <= 1


def _of_one_thickness(parts: Sequence[Group]) -> bool:
    known = [part.first.slice_thickness for part in parts if part.first.slice_thickness]
    return not known or max(known) <= (1 + _THICKNESS) * min(known)


def _is_one_breath(parts: Sequence[Group], union: DicomVolume, decode: Decode) -> bool:
    """Tell by the pixels whether slices of different parts are neighbours in one patient.

    In one volume neighbours are more alike than second neighbours. Of two breaths that lie between
    each other second neighbours are more alike: they are of one breath.
    """
    part_of = {(f.path, f.index): i for i, part in enumerate(parts) for f in part.frames}
    frames = union.present
    of = [part_of[frame.path, frame.index] for frame in frames]
    seams = [i for i in range(len(frames) - 1) if of[i] != of[i + 1]]
    chosen = sorted({seams[int(i)] for i in np.linspace(0, len(seams) - 1, _SEAMS)})
    try:
        looked_at = {
            j: _thumbnail(decode(frames[j]))
            for i in chosen
            for j in range(i - 1, i + 3)
            if 0 <= j < len(frames)
        }
    except ScanError:
        return False

    def differ(pairs: list[tuple[int, int]]) -> float:
        known = [(a, b) for a, b in pairs if a in looked_at and b in looked_at]
        return float(np.mean([np.abs(looked_at[a] - looked_at[b]).mean() for a, b in known]))

    near = differ([(i, i + 1) for i in chosen])
    far = differ([pair for i in chosen for pair in ((i - 1, i + 1), (i, i + 2))])
    thickness, step = union.first.slice_thickness, union.geometry.steps[0]
    of_one_study = len({part.first.study_instance_uid for part in parts}) == 1
    touching = of_one_study and abs((thickness or 0) - step) <= _THICKNESS * step
    return near <= (_DISSIMILAR if touching else _SMOOTH) * far


def _thumbnail(values: AnyArray) -> NDArray[np.float32]:
    """Return HU (rows, columns) averaged over blocks, at most 64 a side."""
    block = max(1, min(values.shape) // 32)
    rows, columns = (side // block for side in values.shape)
    cut = np.clip(values[: rows * block, : columns * block], -1000, 400).astype(np.float32)
    averaged: NDArray[np.float32] = cut.reshape(rows, block, columns, block).mean((1, 3))
    return averaged
