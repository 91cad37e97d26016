"""DICOM files as scans: volumes are found by the headers, slices are decoded on demand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pleura.errors import PleuraError, ScanError, first_line
from pleura.formats.dicom.dataset import read_dataset
from pleura.formats.dicom.frames import Frame, SkippedFile, read_frames
from pleura.formats.dicom.joining import group_frames
from pleura.formats.dicom.origin import DicomOrigin
from pleura.formats.dicom.pixels import read_stored_values
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.formats.dicom.rescale import infer_rescale, padding_decisions, rescale_to_hu
from pleura.formats.dicom.volume import DicomVolume, build_volume
from pleura.scan.scan import BACKGROUND_HU, Decision, Scan
from pleura.typing import AnyArray

_logger = logging.getLogger(__name__)

OpenFile = Callable[[Path], Dataset]

MIN_SLICES = 5
"""Volumes of fewer slices are more likely planning or biopsy scans than chests."""


@dataclass(frozen=True)
class RejectedFrames:
    """Frames that are not a volume, with the reason."""

    frames: tuple[Frame, ...]
    error: ScanError


@dataclass(frozen=True)
class DicomContents:
    """Contents of a folder of DICOM files.

    Attributes
    ----------
    volumes:
        The volumes, in order of preference.
    rejected:
        Frames that are not a volume.
    skipped:
        Files that are not read as CT.
    """

    volumes: tuple[DicomVolume, ...]
    rejected: tuple[RejectedFrames, ...]
    skipped: tuple[SkippedFile, ...]


def find_volumes(paths: Iterable[Path]) -> DicomContents:
    """Read the headers of files, and build volumes from the CT frames.

    Volumes of ``MIN_SLICES`` slices or more are first; then original images before derived ones,
    axial ones before others, those that cover most of the body, thin slices before thick ones, and
    lower series numbers.
    """
    frames, skipped = read_frames(paths)
    volumes: list[DicomVolume] = []
    rejected: list[RejectedFrames] = []
    for group in group_frames(frames, decode_hu):
        try:
            if group.error is not None:
                raise group.error
            volumes.append(build_volume(group.frames, group.decisions))
        except ScanError as error:  # noqa: PERF203
            rejected.append(RejectedFrames(group.frames, error))
    volumes.sort(key=_preference)
    for file in skipped:
        _logger.debug("Skipped %s: %s", file.path, file.reason)
    _logger.info(
        "Found %d volumes and %d other groups of frames; skipped %d files",
        len(volumes),
        len(rejected),
        len(skipped),
    )
    return DicomContents(tuple(volumes), tuple(rejected), tuple(skipped))


def read_volume(
    volume: DicomVolume, name: str, source: Path, skipped: Sequence[SkippedFile] = ()
) -> Scan:
    """Return a volume as a scan, whose slices are decoded on demand.

    Parameters
    ----------
    volume:
        The frames.
    name:
        Name of the scan in results.
    source:
        The file or folder that it is read from.
    skipped:
        Files of the same source that are not read; the scan has a decision about them.
    """
    decisions = [*volume.decisions, *_skipped_decisions(skipped)]
    frames = volume.present
    is_lossy = any(frame.lossy for frame in frames)
    if is_lossy:
        reason = f"{frames[0].transfer_syntax}; borders may be inaccurate"
        decisions.append(Decision("pixels", "lossy compression", reason, warning=True))
    if all(frame.rescale is None for frame in frames):
        reason = "the header has no Rescale Intercept"
        decisions.append(Decision("units", "stored values", reason, warning=True))
    open_file = lru_cache(1)(read_dataset)  # a multi-frame file is parsed once, not per frame
    inferred, rescale_decisions = infer_rescale(frames, partial(decode_hu, open_file=open_file))
    decisions += rescale_decisions
    decisions += padding_decisions(frames, partial(decode_stored, open_file=open_file))

    def read(start: int, stop: int) -> AnyArray:
        frames = (frame and inferred.get(frame, frame) for frame in volume.frames[start:stop])
        return np.stack([_read_slice(frame, volume, open_file) for frame in frames])

    return Scan(
        name=name,
        geometry=volume.geometry,
        read=read,
        origin=DicomOrigin(volume=volume, path=source, files=volume.files, is_lossy=is_lossy),
        decisions=tuple(decisions),
        missing_slices=frozenset(i for i, frame in enumerate(volume.frames) if frame is None),
    )


def decode_hu(frame: Frame, open_file: OpenFile = read_dataset) -> AnyArray:
    """Return a frame (rows, columns) in HU: rescaled, and with air in place of padding.

    Raises
    ------
    ScanError
        As `decode_stored`.
    """
    return rescale_to_hu(decode_stored(frame, open_file), frame)


def decode_stored(frame: Frame, open_file: OpenFile = read_dataset) -> AnyArray:
    """Return the stored values of a frame (rows, columns).

    Raises
    ------
    ScanError
        The file is truncated or corrupt, or no decoder for its transfer syntax is installed.
    """
    try:
        with suppress_pydicom_log():
            stored = read_stored_values(open_file(frame.path), frame.path, frame.index)
    except PleuraError:
        raise
    # Decoders are C extensions and raise many kinds of errors, including SystemError.
    except Exception as error:
        raise ScanError(
            "the slice cannot be decoded: it is truncated, corrupt or not supported "
            f"({frame.transfer_syntax}; {first_line(error)})",
            where=frame.path,
            hint="export it again without compression, or remove it; the gap is then reported",
        ) from error
    if stored.shape != (frame.rows, frame.columns):
        raise ScanError(
            f"the slice has {stored.shape} pixels, but its header states "
            f"{(frame.rows, frame.columns)}",
            where=frame.path,
            hint="copy or export the file again",
        )
    return stored


def _read_slice(frame: Frame | None, volume: DicomVolume, open_file: OpenFile) -> AnyArray:
    if frame is None:
        return np.full(volume.geometry.shape[1:], BACKGROUND_HU, np.int16)
    return decode_hu(frame, open_file)


def _preference(volume: DicomVolume) -> tuple[bool, bool, bool, int, float, int]:
    """Return the key by which volumes are sorted, the preferred one first."""
    is_small = len(volume.present) < MIN_SLICES
    derived = "DERIVED" in volume.first.image_type
    axial = volume.geometry.orientation[0] in "SI"
    covered = round(volume.extent / 20)  # to 2 cm
    thickness = volume.geometry.spacing[0]
    return is_small, derived, not axial, -covered, thickness, volume.first.series_number


def _skipped_decisions(skipped: Sequence[SkippedFile]) -> list[Decision]:
    counts = Counter((file.reason, file.damaged) for file in skipped)
    return [
        Decision(
            "slices" if damaged else "files",
            f"{n} skipped",
            reason + (" (may be a slice)" if damaged else ""),
            warning=damaged,
        )
        for (reason, damaged), n in counts.items()
    ]
