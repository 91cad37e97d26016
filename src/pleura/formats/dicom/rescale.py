"""From stored values of DICOM frames to HU: rescale slope and intercept, and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.scan.scan import AIR, Decision
from pleura.typing import AnyArray

Decode = Callable[[Frame], AnyArray]

DENSE, IMPOSSIBLE = -950.0, 4000.0
"""HU of a padding value: below the first it is air anyway; above the second it is no tissue."""

SMALLEST_PADDING = 0.002
"""Of a slice: a padded region, where the value may be a tissue's as well."""

DIFFERENT = 200.0
"""HU between neighbouring slices, mean over pixels: more than anatomy makes."""

_CHECKED = 6
"""Pairs of neighbours of different rescale that are compared."""


def rescale_to_hu(stored: NDArray[Any], frame: Frame) -> AnyArray:
    """Apply slope and intercept: int16 or int32 where exact, else float32; padding becomes air."""
    slope, intercept = frame.rescale or (1.0, 0.0)
    if slope == 1 and intercept == int(intercept):
        whole = stored.astype(np.int64) + int(intercept)
        fits = whole.min() >= -(1 << 15) and whole.max() < 1 << 15
        values: AnyArray = whole.astype(np.int16 if fits else np.int32)
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padded = find_padding(stored, values, frame)
    if padded is None:
        return values
    values[padded] = AIR
    fits = bool(np.abs(values).max() < 1 << 15)
    return values.astype(np.int16) if values.dtype == np.int32 and fits else values


def find_padding(stored: NDArray[Any], values: AnyArray, frame: Frame) -> NDArray[np.bool_] | None:
    """Return where a slice is padded with what is not air, None where it is not.

    Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2) may be written with the
    wrong sign. Where the value may be a tissue's, only regions that reach the border are padding.
    """
    if frame.pixel_padding is None:
        return None
    low, high = sorted(_as_stored(value, stored.dtype) for value in frame.pixel_padding)
    found = (stored >= low) & (stored <= high) & (values > DENSE)
    if not found.any():
        return None
    doubtful = found & (values < IMPOSSIBLE)
    if doubtful.any():
        count, pieces, figures, _ = cv2.connectedComponentsWithStats(
            doubtful.astype(np.uint8), connectivity=8
        )
        outside = np.zeros(count, np.bool_)
        for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
            outside[edge] = True
        outside &= figures[:, cv2.CC_STAT_AREA] >= SMALLEST_PADDING * stored.size
        outside[0] = False
        found = (found & ~doubtful) | outside[pieces]
    return found if found.any() else None


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """Return a value modulo the word, in the range of the pixels' own type."""
    low = int(np.iinfo(dtype).min)
    return (value - low) % (1 << 8 * dtype.itemsize) + low


def padding_decisions(frames: Sequence[Frame], stored_of: Decode) -> list[Decision]:
    """Report the padding that some slices have and that would not be air by its value."""
    some = {frames[i].path: frames[i] for i in (0, len(frames) // 2, -1)}.values()
    levels: list[float] = []
    for frame in some:
        if frame.pixel_padding is None:
            continue
        stored = stored_of(frame)
        slope, intercept = frame.rescale or (1.0, 0.0)
        values = stored * np.float64(slope) + intercept
        padded = find_padding(stored, values, frame)
        if padded is not None:
            levels.append(float(np.median(values[padded])))
    if not levels:
        return []
    level = float(np.median(levels))
    doubtful = level < IMPOSSIBLE
    reason = f"by its Pixel Padding Value the scanner measured nothing there; stored as {level:g}"
    if doubtful:
        reason += ", which tissue may have too: only regions at the border are taken"
    return [Decision("padding", "taken for air", reason, warning=doubtful)]


def infer_rescale(
    frames: Sequence[Frame], decode: Decode
) -> tuple[dict[Frame, Frame], list[Decision]]:
    """Return frames whose rescale had to be inferred from their neighbours, with the decision.

    ``frames`` are in the order of the slices. ``decode`` returns a frame in HU.

    Raises
    ------
    ScanError
        The pixels contradict the headers: neighbouring slices differ by more than anatomy.
    """
    stated = [frame for frame in frames if frame.rescale is not None]
    if len({frame.rescale for frame in frames}) < 2 or not stated:
        return {}, []
    _check_neighbours(stated, decode)
    inferred: dict[Frame, Frame] = {}
    for i, frame in enumerate(frames):
        if frame.rescale is not None:
            continue
        near = min(stated, key=lambda other: abs(frames.index(other) - i))
        inferred[frame] = _as_neighbour(frame, near, decode)
    if not inferred:
        return {}, []
    choice = f"Rescale Intercept is missing in {len(inferred)} of {len(frames)} slices"
    used = sorted({frame.rescale for frame in inferred.values() if frame.rescale is not None})
    lines = " or ".join(f"stored * {slope:g} {intercept:+g}" for slope, intercept in used)
    reason = f"there {lines} is taken for HU, as their neighbours have the same intensity then"
    return inferred, [Decision("units", choice, reason, warning=True)]


def _as_neighbour(frame: Frame, near: Frame, decode: Decode) -> Frame:
    """Return a frame with its neighbour's rescale or none, whichever fits its neighbour."""
    both = [replace(frame, rescale=rescale) for rescale in (near.rescale, (1.0, 0.0))]
    fits = [_difference(one, near, decode) for one in both]
    best = int(np.argmin(fits))
    if fits[best] > DIFFERENT:
        raise ScanError(
            "the slice has no Rescale Intercept, and its values do not fit its neighbour's",
            where=frame.path,
            hint="export the series again, or move the slices without Rescale Intercept away",
        )
    return both[best]


def _check_neighbours(frames: Sequence[Frame], decode: Decode) -> None:
    """Refuse slices that fit their neighbours only with another rescale than their own."""
    steps = [(a, b) for a, b in pairwise(frames) if a.rescale != b.rescale]
    for first, second in steps[:: max(1, len(steps) // _CHECKED)]:
        other = replace(second, rescale=first.rescale)
        apart = _difference(second, first, decode)
        if apart > DIFFERENT and _difference(other, first, decode) < apart / 2:
            raise ScanError(
                f"slices of this series state different rescale values, {_line(first)} and "
                f"{_line(second)}, but their pixels have the same units",
                where=second.path,
                hint="export the series again with its own Rescale Slope and Intercept",
            )


def _line(frame: Frame) -> str:
    slope, intercept = frame.rescale or (1.0, 0.0)
    return f"stored * {slope:g} {intercept:+g}"


def _difference(first: Frame, second: Frame, decode: Decode) -> float:
    """Return the mean difference of two slices in HU, without that below air."""
    a, b = (np.maximum(decode(frame).astype(np.float64), AIR) for frame in (first, second))
    return float(np.abs(a - b).mean())
