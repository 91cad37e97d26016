"""Conversion of stored values of DICOM frames to HU, and detection of padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import DecodeFrame, Frame
from pleura.scan.scan import BACKGROUND_HU, Decision
from pleura.typing import AnyArray

_AIR_LIMIT, _TISSUE_LIMIT = -950.0, 4000.0
"""HU of a padding value: below the first it is air, above the second it cannot be tissue."""

_MIN_PADDED_FRACTION = 0.002
"""Smallest padded region, as a fraction of the slice, if tissue may have the value too."""

_MAX_DIFFERENCE = 200.0
"""Mean absolute difference of neighbouring slices in HU; anatomy causes less."""

_MAX_PAIRS = 6
"""Pairs of neighbours with different rescale that are compared."""


_INT16 = 1 << 15
"""Absolute values of int16 are smaller."""


def rescale_to_hu(stored: NDArray[Any], frame: Frame) -> AnyArray:
    """Apply Rescale Slope and Intercept (PS3.3 C.11.1.1.2), and replace padding by air.

    Parameters
    ----------
    stored:
        Stored values (rows, columns).
    frame:
        The header.

    Returns
    -------
    ndarray
        HU (rows, columns) of int16 or int32 if they are integers, else float32.
    """
    slope, intercept = frame.rescale or (1.0, 0.0)
    if slope == 1 and intercept == int(intercept):
        shift = int(intercept)
        fits = int(stored.min()) + shift >= -_INT16 and int(stored.max()) + shift < _INT16
        if fits and abs(shift) < _INT16:  # intermediate values that wrap around are corrected
            values: AnyArray = stored.astype(np.int16) + np.int16(shift)
        else:
            values = (stored.astype(np.int64) + shift).astype(np.int16 if fits else np.int32)
    else:
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    padded = find_padding(stored, values, frame)
    if padded is None:
        return values
    values[padded] = BACKGROUND_HU
    fits = bool(np.abs(values).max() < _INT16)
    return values.astype(np.int16) if values.dtype == np.int32 and fits else values


def find_padding(stored: NDArray[Any], values: AnyArray, frame: Frame) -> NDArray[np.bool_] | None:
    """Return a mask of padding whose value is not that of air; None without padding.

    Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2) may have the wrong sign.
    If tissue may have the value too, only regions at the border are padding.

    Parameters
    ----------
    stored, values:
        Stored values and HU (rows, columns).
    frame:
        The header.
    """
    if frame.pixel_padding is None:
        return None
    low, high = sorted(_wrap_to_dtype(value, stored.dtype) for value in frame.pixel_padding)
    padded = (stored >= low) & (stored <= high) & (values > _AIR_LIMIT)
    if not padded.any():
        return None
    ambiguous = padded & (values < _TISSUE_LIMIT)
    if ambiguous.any():
        components = cc3d.connected_components(ambiguous, connectivity=8)
        sizes = np.bincount(components.ravel())
        outside = np.zeros(len(sizes), np.bool_)
        for edge in (components[0], components[-1], components[:, 0], components[:, -1]):
            outside[edge] = True
        outside &= sizes >= _MIN_PADDED_FRACTION * stored.size
        outside[0] = False
        padded = (padded & ~ambiguous) | outside[components]
    return padded if padded.any() else None


def _wrap_to_dtype(value: int, dtype: np.dtype[Any]) -> int:
    """Return a value in the range of an integer type, modulo its word length."""
    low = int(np.iinfo(dtype).min)
    return (value - low) % (1 << 8 * dtype.itemsize) + low


def padding_decisions(frames: Sequence[Frame], stored_of: DecodeFrame) -> list[Decision]:
    """Return a decision if some slices have padding whose value is not that of air."""
    sampled = {frames[i].path: frames[i] for i in (0, len(frames) // 2, -1)}.values()
    levels: list[float] = []
    for frame in sampled:
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
    ambiguous = level < _TISSUE_LIMIT
    reason = f"Pixel Padding Value of {level:g} HU"
    if ambiguous:
        reason += ", which tissue can also have: only regions at the border are replaced"
    return [Decision("padding", "replaced by air", reason, warning=ambiguous)]


def infer_rescale(
    frames: Sequence[Frame], decode: DecodeFrame
) -> tuple[dict[Frame, Frame], list[Decision]]:
    """Infer the rescale of frames without Rescale Intercept from their neighbours.

    Parameters
    ----------
    frames:
        Frames in the order of the slices.
    decode:
        Returns the HU of a frame.

    Returns
    -------
    inferred:
        For each frame without rescale, the frame with its inferred rescale.
    decisions:
        A warning if there are such frames.

    Raises
    ------
    ScanError
        The pixels contradict the headers: neighbouring slices differ by more than anatomy causes.
    """
    stated = [frame for frame in frames if frame.rescale is not None]
    if len({frame.rescale for frame in frames}) < 2 or not stated:
        return {}, []
    _check_consistency(stated, decode)
    inferred: dict[Frame, Frame] = {}
    for i, frame in enumerate(frames):
        if frame.rescale is not None:
            continue
        neighbour = min(stated, key=lambda other: abs(frames.index(other) - i))
        inferred[frame] = _infer_from_neighbour(frame, neighbour, decode)
    if not inferred:
        return {}, []
    choice = f"Rescale Intercept is missing in {len(inferred)} of {len(frames)} slices"
    used = sorted({frame.rescale for frame in inferred.values() if frame.rescale is not None})
    lines = " or ".join(f"stored * {slope:g} {intercept:+g}" for slope, intercept in used)
    reason = f"{lines} is used, with which they match their neighbours"
    return inferred, [Decision("units", choice, reason, warning=True)]


def _infer_from_neighbour(frame: Frame, neighbour: Frame, decode: DecodeFrame) -> Frame:
    """Return a frame with the rescale of its neighbour, or the identity, whichever fits better."""
    candidates = [replace(frame, rescale=rescale) for rescale in (neighbour.rescale, (1.0, 0.0))]
    differences = [_mean_difference(candidate, neighbour, decode) for candidate in candidates]
    best = int(np.argmin(differences))
    if differences[best] > _MAX_DIFFERENCE:
        raise ScanError(
            "the slice has no Rescale Intercept, and its values do not match its neighbours",
            where=frame.path,
            hint="export the series again, or remove the slices without Rescale Intercept",
        )
    return candidates[best]


def _check_consistency(frames: Sequence[Frame], decode: DecodeFrame) -> None:
    """Raise if slices match their neighbours only with a rescale other than their own."""
    steps = [(a, b) for a, b in pairwise(frames) if a.rescale != b.rescale]
    for first, second in steps[:: max(1, len(steps) // _MAX_PAIRS)]:
        alternative = replace(second, rescale=first.rescale)
        difference = _mean_difference(second, first, decode)
        if (
            difference > _MAX_DIFFERENCE
            and _mean_difference(alternative, first, decode) < difference / 2
        ):
            raise ScanError(
                "slices of this series have different rescale values, "
                f"{_format_rescale(first)} and {_format_rescale(second)}, "
                "but their pixels have the same units",
                where=second.path,
                hint="export the series again from the original",
            )


def _format_rescale(frame: Frame) -> str:
    slope, intercept = frame.rescale or (1.0, 0.0)
    return f"stored * {slope:g} {intercept:+g}"


def _mean_difference(first: Frame, second: Frame, decode: DecodeFrame) -> float:
    """Return the mean absolute difference of two slices in HU, clipped at air."""
    a, b = (
        np.maximum(decode(frame).astype(np.float64), BACKGROUND_HU) for frame in (first, second)
    )
    return float(np.abs(a - b).mean())
