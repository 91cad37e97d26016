"""The levels of air, fat, muscle and padding in a slice, measured without knowing its units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.typing import BoolArray

ALIKE = 0.06
"""Of the span from air to muscle: levels that are the same."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation in stored values, and correlation between neighbouring pixels."""

    sd: float
    correlation: float


@dataclass(frozen=True)
class Wrap:
    """Integers stored modulo ``modulus`` and read with the wrong sign; they begin at ``low``."""

    low: int
    modulus: int

    def undo(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values with their sign restored."""
        exact = values.astype(np.float64)  # float32 cannot hold 32-bit integers
        return np.asarray((exact - self.low) % self.modulus + self.low)


@dataclass(frozen=True)
class Levels:
    """Intensity levels of one slice, in stored values; None where a level was not found.

    ``percentiles`` are the 1st, 5th and 95th. ``flat`` is True for label maps, where neighbours are
    equal. ``inverse`` are the levels of the negated slice, where air is bright; ``wrapped`` those
    with the signs restored, where integers look read with the wrong sign. ``corner`` is the level
    of flat corners, ``air`` the plateau around the patient, ``fat`` and ``muscle`` are the two
    peaks of soft tissue, ``floor`` is the fraction of dark pixels that have the minimum. ``bone``
    is the fraction of the body that is clearly brighter than muscle, ``sharp`` the fraction of
    homogeneous tissue at the levels of fat and muscle, ``fat_outside`` whether fat lies nearer to
    the skin than muscle.
    """

    low: float
    high: float
    eight_bit: bool
    percentiles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flat: bool = False
    inverse: Levels | None = None
    wrap: Wrap | None = None
    wrapped: Levels | None = None
    corner: float | None = None
    corner_noise: Noise | None = None
    air: float | None = None
    air_noise: Noise | None = None
    fat: float = 0.0
    muscle: float = 0.0
    floor: float = 0.0
    bone: float = 0.0
    sharp: float = 0.0
    fat_outside: bool = False


def measure_levels(image: NDArray[Any]) -> Levels:
    """Find the levels of air, fat, muscle and corners in a slice (rows, columns), and noise."""
    levels = _anatomy(image, _values(image))
    if _bright_rim(image):
        negative = -image.astype(np.float64)
        levels = replace(levels, inverse=_anatomy(negative, _values(negative)))
    wrap = _find_wrap(image)
    if wrap is not None:
        restored = wrap.undo(image)
        levels = replace(levels, wrap=wrap, wrapped=_anatomy(restored, _values(restored)))
    return levels


def _values(image: NDArray[Any]) -> Levels:
    low, high = float(image.min()), float(image.max())
    whole = image.dtype.kind in "iub" or bool((image == np.rint(image)).all())
    first, fifth, top = np.percentile(image, (1, 5, 95)).tolist()
    eight_bit = whole and low >= 0 and high <= 255
    return Levels(low, high, eight_bit, (first, fifth, top), _is_flat(image, low, high))


def _is_flat(image: NDArray[Any], low: float, high: float) -> bool:
    """Tell whether neighbours are equal wherever the slice is neither at its minimum nor maximum.

    In CT noise makes them differ; only windowed pictures have large areas at both ends.
    """
    between = (image > low) & (image < high)
    inner = between[:, 1:] & between[:, :-1]
    if inner.sum() < 0.002 * image.size:
        return not inner.any()
    return bool((image[:, 1:] == image[:, :-1])[inner].mean() > 0.9)


def _bright_rim(image: NDArray[Any]) -> bool:
    """Tell whether the maximum fills most of the rim and much of the picture, as inverted air."""
    bright = image >= image.max() - 0.03 * float(np.ptp(image))
    rim = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return bool(rim.mean() > 0.5 and bright.mean() > 0.15)


def _find_wrap(image: NDArray[Any]) -> Wrap | None:
    """Find integers read with the wrong sign: values at both ends of a word and none between.

    Of 12 to 16 and 32 bits; a rescale intercept may have shifted them by some thousand.
    """
    low, high = float(image.min()), float(image.max())
    for bits in (12, 13, 14, 15, 16, 32):
        modulus = 1 << bits
        for start in (0, -modulus // 2):
            shift = min(_SHIFT, modulus // 4)
            ends = start - shift <= low, high <= start + modulus + shift
            if not all(ends) or low > start + modulus / 4 or high < start + 3 * modulus / 4:
                continue
            place = (image.astype(np.float64) - start) / modulus
            bottom, top = float((place < 0.25).mean()), float((place >= 0.75).mean())
            if min(bottom, top) > 0.01 and bottom + top > 0.97:
                return Wrap(start - modulus // 2 if start == 0 else 0, modulus)
    return None


_SHIFT = 2048


_LARGEST = 1e12  # beyond it, squares overflow


def _anatomy(image: NDArray[Any], levels: Levels) -> Levels:
    low = levels.low
    if min(image.shape) < 64 or max(-low, levels.high) > _LARGEST:
        return levels
    blocks = _blocks(image.astype(np.float32), 8 if min(image.shape) >= 256 else 4)
    means, deviations = blocks.mean((2, 3)), blocks.std((2, 3))
    radius, corners = _geometry(means.shape)

    tolerance = 0.02 * float(np.ptp(np.percentile(means, (2, 98))))
    corner = _flat_level(means[corners], tolerance)
    if corner is not None:
        levels = replace(levels, corner=corner, corner_noise=_noise(blocks[corners]))
    inside = radius < 0.95
    inside &= ~_is_padding(means, inside, corner, tolerance)
    bottom, top = np.percentile(means[inside], (2, 95)) if inside.any() else (low, low)
    low_half = inside & (means <= (bottom + top) / 2)
    tissue = inside & ~low_half & (means <= top)  # without bone
    if tissue.sum() < 16:
        return levels
    rim = inside & (radius > 0.85)
    dark = means[rim & low_half]
    if dark.size:
        # Blankets and the couch are dark too, and may be flatter than air: start from below.
        deepest = np.percentile(dark, 10, method="lower")
        air = _mode(dark[np.abs(dark - deepest) < ALIKE * (top - bottom)])
        plateau = rim & (np.abs(means - air) < 0.03 * (top - bottom))
        darkest = bottom >= air - 0.08 * (top - air)  # else it is lung, at the rim of a crop
        if darkest and plateau.sum() >= 0.08 * rim.sum():
            floor = float((blocks[low_half] == low).mean())
            levels = replace(levels, air=air, air_noise=_noise(blocks[plateau]), floor=floor)
    flat = tissue & (deviations <= np.percentile(deviations[tissue], 30))
    fat, muscle = _two_peaks(means[flat])
    levels = replace(levels, fat=fat, muscle=muscle)
    if levels.air is None:
        return levels
    span = (fat + muscle) / 2 - levels.air
    body = image > levels.air + span / 2
    near = np.minimum(np.abs(means - fat), np.abs(means - muscle)) < 0.04 * span
    return replace(
        levels,
        bone=float((image[body] > muscle + span / 5).mean()) if body.any() else 0.0,
        sharp=float(near[flat].mean()),
        fat_outside=_fat_outside(means, fat, muscle, levels.air + span / 2),
    )


def _fat_outside(means: NDArray[np.floating[Any]], fat: float, muscle: float, limit: float) -> bool:
    body = means > limit
    depth = cv2.distanceTransform(np.pad(body, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    near = (muscle - fat) / 4
    outer, inner = (depth[body & (np.abs(means - one) < near)] for one in (fat, muscle))
    return bool(outer.size and inner.size and outer.mean() < inner.mean())


def _blocks(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut (rows, columns) into (rows / size, columns / size, size, size); a rest is left out.

    Means of blocks carry little noise: 8x8 pixels lower white noise eightfold.
    """
    rows, columns = (side // size for side in image.shape)
    cut = image[: rows * size, : columns * size]
    return cut.reshape(rows, size, columns, size).swapaxes(1, 2)


def _geometry(shape: tuple[int, ...]) -> tuple[NDArray[np.floating[Any]], BoolArray]:
    """Return each block's distance from the centre (1 at the edges), and which are in corners."""
    y, x = (np.abs(2 * np.arange(n) + 1 - n) / n for n in shape)
    return np.hypot(y[:, None], x), y[:, None] + x > 1.5


def _flat_level(means: NDArray[np.floating[Any]], tolerance: float) -> float | None:
    """Return the level on which most of the corners' blocks stand, if there is one."""
    level = float(np.median(means))
    return level if np.percentile(np.abs(means - level), 75) <= tolerance else None


def _is_padding(
    means: NDArray[np.floating[Any]], inside: BoolArray, corner: float | None, tolerance: float
) -> BoolArray:
    """Mark blocks on the corners' level where that lies far below all else."""
    if corner is None:
        return np.zeros_like(inside)
    near: BoolArray = np.abs(means - corner) <= tolerance
    rest = means[inside & ~near]
    if rest.size == 0:
        return np.zeros_like(inside)
    bottom, top = np.percentile(rest, (2, 95))
    return near if corner < bottom - 0.25 * (top - bottom) else np.zeros_like(near)


def _noise(blocks: NDArray[np.float32]) -> Noise:
    """Measure noise in flat blocks (n, size, size)."""
    rest = blocks - blocks.mean((1, 2), keepdims=True)
    variance = (rest**2).mean((1, 2))
    side = (rest[:, :, 1:] * rest[:, :, :-1]).mean((1, 2))
    down = (rest[:, 1:] * rest[:, :-1]).mean((1, 2))
    total = float(variance.sum())
    if total == 0:
        return Noise(0.0, 0.0)
    bias = 1 / (blocks[0].size - 1)  # each block's own mean is taken off
    correlation = float((side + down).sum()) / (2 * total) + bias
    return Noise(float(np.sqrt(np.median(variance) * (1 + bias))), correlation)


def _mode(values: NDArray[np.floating[Any]]) -> float:
    """Return the half-sample mode (Bickel and Fruehwirth 2006): the densest value, robustly."""
    values = np.sort(values)
    while len(values) > 3:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        values = values[start : start + half]
    return float(values.mean())


def _two_peaks(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the modes below and above the threshold that parts the values best (Otsu 1979)."""
    values = np.sort(values)
    n = np.arange(1, len(values))
    left = np.cumsum(values)[:-1]
    right = values.sum() - left
    between = n * n[::-1] * (left / n - right / n[::-1]) ** 2
    cut = int(np.argmax(between)) + 1
    return _mode(values[:cut]), _mode(values[cut:])
