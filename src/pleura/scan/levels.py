"""The levels of air, fat, muscle and padding in a slice, measured without knowing its units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

ALIKE = 0.06
"""Of the span from air to muscle: levels that are the same."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation in stored values, and correlation between neighbouring pixels."""

    sd: float
    correlation: float


@dataclass(frozen=True)
class Levels:
    """What one slice tells about its units, in stored values; None where it tells nothing.

    ``corner`` is the level of flat corners, ``air`` the plateau around the patient, ``fat`` and
    ``muscle`` are the two peaks of soft tissue, ``floor`` is the part of dark pixels that stand on
    the minimum.
    """

    low: float
    high: float
    eight_bit: bool
    corner: float | None = None
    corner_noise: Noise | None = None
    air: float | None = None
    air_noise: Noise | None = None
    fat: float = 0.0
    muscle: float = 0.0
    floor: float = 0.0


def measure_levels(image: NDArray[Any]) -> Levels:
    """Find the levels of air, fat, muscle and corners in a slice (rows, columns), and noise."""
    low, high = float(image.min()), float(image.max())
    whole = image.dtype.kind in "iub" or bool((image == np.rint(image)).all())
    levels = Levels(low, high, eight_bit=whole and low >= 0 and high <= 255)
    if min(image.shape) < 64:
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
        if plateau.sum() >= 0.08 * rim.sum():
            floor = float((blocks[low_half] == low).mean())
            levels = replace(levels, air=air, air_noise=_noise(blocks[plateau]), floor=floor)
    flat = tissue & (deviations <= np.percentile(deviations[tissue], 30))
    fat, muscle = _two_peaks(means[flat])
    return replace(levels, fat=fat, muscle=muscle)


def _blocks(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Cut (rows, columns) into (rows / size, columns / size, size, size); a rest is left out.

    Means of blocks carry little noise: 8x8 pixels lower white noise eightfold.
    """
    rows, columns = (side // size for side in image.shape)
    cut = image[: rows * size, : columns * size]
    return cut.reshape(rows, size, columns, size).swapaxes(1, 2)


def _geometry(shape: tuple[int, ...]) -> tuple[Floats, Flags]:
    """Return each block's distance from the centre (1 at the edges), and which are in corners."""
    y, x = (np.abs(2 * np.arange(n) + 1 - n) / n for n in shape)
    return np.hypot(y[:, None], x), y[:, None] + x > 1.5


def _flat_level(means: Floats, tolerance: float) -> float | None:
    """Return the level on which most of the corners' blocks stand, if there is one."""
    level = float(np.median(means))
    return level if np.percentile(np.abs(means - level), 75) <= tolerance else None


def _is_padding(means: Floats, inside: Flags, corner: float | None, tolerance: float) -> Flags:
    """Mark blocks on the corners' level where that lies far below all else."""
    if corner is None:
        return np.zeros_like(inside)
    near: Flags = np.abs(means - corner) <= tolerance
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


def _mode(values: Floats) -> float:
    """Return the half-sample mode (Bickel and Fruehwirth 2006): the densest value, robustly."""
    values = np.sort(values)
    while len(values) > 3:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        values = values[start : start + half]
    return float(values.mean())


def _two_peaks(values: Floats) -> tuple[float, float]:
    """Return the modes below and above the threshold that parts the values best (Otsu 1979)."""
    values = np.sort(values)
    n = np.arange(1, len(values))
    left = np.cumsum(values)[:-1]
    right = values.sum() - left
    between = n * n[::-1] * (left / n - right / n[::-1]) ** 2
    cut = int(np.argmax(between)) + 1
    return _mode(values[:cut]), _mode(values[cut:])
