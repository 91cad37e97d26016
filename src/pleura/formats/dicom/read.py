"""A DICOM file, folder or zip read as one scan: series chosen, slices decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pleura.errors import PleuraError, ScanError, first_line
from pleura.formats.dicom.dataset import read_dataset
from pleura.formats.dicom.frames import Frame, SkippedFile, read_frames
from pleura.formats.dicom.grouping import group_frames
from pleura.formats.dicom.origin import DicomOrigin
from pleura.formats.dicom.pixels import read_stored_values
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.formats.dicom.rescale import infer_rescale, padding_decisions, to_hu
from pleura.formats.dicom.volume import DicomVolume, build_volume
from pleura.scan.scan import AIR, Decision, Scan
from pleura.typing import AnyArray

OpenFile = Callable[[Path], Any]

MIN_SLICES = 5
"""Slices below which a stack is rather a planning or a biopsy scan than a chest."""


@dataclass(frozen=True)
class RejectedFrames:
    """Frames that are no volume, and why."""

    frames: tuple[Frame, ...]
    error: ScanError


@dataclass(frozen=True)
class DicomContents:
    """What a folder of DICOM holds: stacks, best first; groups that are none; files set aside."""

    volumes: tuple[DicomVolume, ...]
    rejected: tuple[RejectedFrames, ...]
    skipped: tuple[SkippedFile, ...]


def find_volumes(paths: Iterable[Path]) -> DicomContents:
    """Read the headers of files and make stacks of them, the one for lungs first.

    What has ``MIN_SLICES`` slices or more comes first; then original images before derived ones,
    axial before others, what covers most of the body, thin slices before thick, lower series
    numbers.
    """
    frames, aside = read_frames(paths)
    stacks: list[DicomVolume] = []
    refused: list[RejectedFrames] = []
    for group in group_frames(frames, decode):
        try:
            if group.error is not None:
                raise group.error
            stacks.append(build_volume(group.frames, group.decisions))
        except ScanError as error:  # noqa: PERF203
            refused.append(RejectedFrames(group.frames, error))
    stacks.sort(key=_rank)
    return DicomContents(tuple(stacks), tuple(refused), tuple(aside))


def read_volume(
    stack: DicomVolume, name: str, source: Path, aside: Sequence[SkippedFile] = ()
) -> Scan:
    """Return a stack as a scan."""
    decisions = [*stack.decisions, *_set_aside(aside)]
    frames = stack.present
    if any(frame.lossy for frame in frames):
        reason = f"{frames[0].transfer_syntax}; borders may be off"
        decisions.append(Decision("pixels", "lossy compression", reason, warning=True))
    if all(frame.rescale is None for frame in frames):
        reason = "the header has no Rescale Intercept"
        decisions.append(Decision("units", "stored values", reason, warning=True))
    open_file = lru_cache(1)(read_dataset)  # a multi-frame file is parsed once, not per frame
    inferred, rescaled = infer_rescale(frames, partial(decode, open_file=open_file))
    decisions += rescaled
    decisions += padding_decisions(frames, partial(decode_stored, open_file=open_file))

    def read(start: int, stop: int) -> AnyArray:
        chosen = (frame and inferred.get(frame, frame) for frame in stack.frames[start:stop])
        return np.stack([_read_slice(frame, stack, open_file) for frame in chosen])

    return Scan(
        name=name,
        geometry=stack.geometry,
        read=read,
        origin=DicomOrigin(volume=stack, path=source, files=stack.files),
        decisions=tuple(decisions),
        absent=frozenset(i for i, frame in enumerate(stack.frames) if frame is None),
    )


def decode(frame: Frame, open_file: OpenFile = read_dataset) -> AnyArray:
    """Return a frame (rows, columns) in HU: rescaled, and with air for padding.

    Raises
    ------
    ScanError
        As `decode_stored`.
    """
    return to_hu(decode_stored(frame, open_file), frame)


def decode_stored(frame: Frame, open_file: OpenFile = read_dataset) -> AnyArray:
    """Return the stored values of a frame (rows, columns).

    Raises
    ------
    ScanError
        The file is truncated or corrupt, or no decoder for its transfer syntax is installed.
    """
    try:
        with suppress_pydicom_log():
            stored = read_stored_values(open_file(frame.path), frame)
    except PleuraError:
        raise
    # Decoders are C extensions with errors of their own, down to SystemError.
    except Exception as error:
        raise ScanError(
            f"the slice cannot be decoded: it is truncated, corrupt, or of a rare kind "
            f"({frame.transfer_syntax}; {first_line(error)})",
            where=frame.path,
            hint="copy or export it again, uncompressed if it is whole; or move it away, and the "
            "gap is reported",
        ) from error
    if stored.shape != (frame.rows, frame.columns):
        raise ScanError(
            f"the slice holds {stored.shape} pixels where its header says "
            f"{(frame.rows, frame.columns)}",
            where=frame.path,
            hint="copy or export it again",
        )
    return stored


def _read_slice(frame: Frame | None, stack: DicomVolume, open_file: OpenFile) -> AnyArray:
    if frame is None:
        return np.full(stack.geometry.shape[1:], AIR, np.int16)
    return decode(frame, open_file)


def _rank(stack: DicomVolume) -> tuple[Any, ...]:
    few = len(stack.present) < MIN_SLICES
    derived = "DERIVED" in stack.first.image_type
    axial = stack.geometry.orientation[0] in "SI"
    covered = round(stack.extent / 20)  # to 2 cm
    return few, derived, not axial, -covered, stack.geometry.spacing[0], stack.first.series_number


def _set_aside(aside: Sequence[SkippedFile]) -> list[Decision]:
    counts: dict[tuple[str, bool], int] = {}
    for one in aside:
        counts[one.reason, one.damaged] = counts.get((one.reason, one.damaged), 0) + 1
    return [
        Decision(
            "slices" if damaged else "files",
            f"{n} set aside",
            reason + (", perhaps a slice" if damaged else ""),
            warning=damaged,
        )
        for (reason, damaged), n in counts.items()
    ]
