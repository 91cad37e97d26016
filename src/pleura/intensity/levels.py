"""Intensity levels of air, fat, muscle and padding in a slice of unknown units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.intensity.wraparound import Wraparound, find_wraparound
from pleura.typing import BoolArray

LEVEL_TOLERANCE = 0.06
"""Difference between levels that are regarded as equal, as a fraction of that of air and muscle."""

_MAX_MAGNITUDE = 1e12  # squares of larger values overflow


@dataclass(frozen=True)
class Noise:
    """Image noise.

    Attributes
    ----------
    sd:
        Standard deviation, in stored values.
    correlation:
        Correlation between neighbouring pixels; 0 for white noise.
    """

    sd: float
    correlation: float


@dataclass(frozen=True)
class Levels:
    """Intensity levels of one slice, in stored values; None where a level was not found.

    Attributes
    ----------
    minimum, maximum:
        Range of the values.
    eight_bit:
        Whether all values are integers from 0 to 255.
    percentiles:
        The 1st, 5th and 95th percentile.
    piecewise_constant:
        Whether neighbouring pixels are equal, as in a label map.
    inverted:
        Levels of the negated slice, if air may be bright; else None.
    wraparound:
        How lost signs are restored, if the values look like integers read with the wrong sign.
    unwrapped:
        Levels of the slice with its signs restored.
    corner, corner_noise:
        Level and noise of the corners, if they are uniform.
    air, air_noise:
        Level and noise of the air around the patient.
    fat, muscle:
        The two peaks of soft tissue.
    clipped_fraction:
        Fraction of the pixels in dark blocks that have the minimum.
    bone_fraction:
        Fraction of the body that is clearly brighter than muscle.
    peak_fraction:
        Fraction of homogeneous soft tissue whose level is that of fat or muscle.
    fat_outside:
        Whether fat is closer to the skin than muscle.
    """

    minimum: float
    maximum: float
    eight_bit: bool
    percentiles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    piecewise_constant: bool = False
    inverted: Levels | None = None
    wraparound: Wraparound | None = None
    unwrapped: Levels | None = None
    corner: float | None = None
    corner_noise: Noise | None = None
    air: float | None = None
    air_noise: Noise | None = None
    fat: float = 0.0
    muscle: float = 0.0
    clipped_fraction: float = 0.0
    bone_fraction: float = 0.0
    peak_fraction: float = 0.0
    fat_outside: bool = False

    @property
    def soft_tissue(self) -> float:
        """The middle between fat and muscle."""
        return (self.fat + self.muscle) / 2

    @property
    def in_unit_range(self) -> bool:
        """Whether all values are between -1 and 1."""
        return self.minimum >= -1 and self.maximum <= 1


def measure_levels(image: NDArray[Any]) -> Levels:
    """Measure the levels of air, fat, muscle and corners, and the noise, in one slice.

    Parameters
    ----------
    image:
        Stored values (rows, columns) of any real dtype.
    """
    levels = _measure_anatomy(image, _value_range(image))
    if _has_bright_border(image):
        negative = -image.astype(np.float64)
        levels = replace(levels, inverted=_measure_anatomy(negative, _value_range(negative)))
    wraparound = find_wraparound(image)
    if wraparound is not None:
        restored = wraparound.unwrap(image)
        unwrapped = _measure_anatomy(restored, _value_range(restored))
        levels = replace(levels, wraparound=wraparound, unwrapped=unwrapped)
    return levels


def _value_range(image: NDArray[Any]) -> Levels:
    low, high = float(image.min()), float(image.max())
    integers = image.dtype.kind in "iub" or bool((image == np.rint(image)).all())
    first, fifth, top = np.percentile(image, (1, 5, 95)).tolist()
    eight_bit = integers and low >= 0 and high <= 255
    constant = _is_piecewise_constant(image, low, high)
    return Levels(low, high, eight_bit, (first, fifth, top), constant)


def _is_piecewise_constant(image: NDArray[Any], low: float, high: float) -> bool:
    """Return whether neighbours are equal wherever they are neither minimum nor maximum.

    In CT noise makes them differ; only windowed pictures have large areas at both ends.
    """
    between = (image > low) & (image < high)
    inner = between[:, 1:] & between[:, :-1]
    if inner.sum() < 0.002 * image.size:
        return not inner.any()
    return bool((image[:, 1:] == image[:, :-1])[inner].mean() > 0.9)


def _has_bright_border(image: NDArray[Any]) -> bool:
    """Return whether most of the border and much of the picture is bright, as inverted air is."""
    bright = image >= image.max() - 0.03 * float(np.ptp(image))
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return bool(border.mean() > 0.5 and bright.mean() > 0.15)


def _measure_anatomy(image: NDArray[Any], levels: Levels) -> Levels:
    low = levels.minimum
    if min(image.shape) < 64 or max(-low, levels.maximum) > _MAX_MAGNITUDE:
        return levels
    blocks = _split_into_blocks(image.astype(np.float32), 8 if min(image.shape) >= 256 else 4)
    means, deviations = blocks.mean((2, 3)), blocks.std((2, 3))
    radius, corners = _block_positions(means.shape)

    tolerance = 0.02 * float(np.ptp(np.percentile(means, (2, 98))))
    corner = _uniform_level(means[corners], tolerance)
    if corner is not None:
        levels = replace(levels, corner=corner, corner_noise=_measure_noise(blocks[corners]))
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
        # Blankets and the couch are dark too, and may be more uniform than air: start from below.
        deepest = np.percentile(dark, 10, method="lower")
        air = _mode(dark[np.abs(dark - deepest) < LEVEL_TOLERANCE * (top - bottom)])
        plateau = rim & (np.abs(means - air) < 0.03 * (top - bottom))
        darkest = bottom >= air - 0.08 * (top - air)  # else it is lung at the rim of a cropped scan
        if darkest and plateau.sum() >= 0.08 * rim.sum():
            clipped = float((blocks[low_half] == low).mean())
            noise = _measure_noise(blocks[plateau])
            levels = replace(levels, air=air, air_noise=noise, clipped_fraction=clipped)
    homogeneous = tissue & (deviations <= np.percentile(deviations[tissue], 30))
    fat, muscle = _two_peaks(means[homogeneous])
    levels = replace(levels, fat=fat, muscle=muscle)
    if levels.air is None:
        return levels
    span = levels.soft_tissue - levels.air
    body = image > levels.air + span / 2
    in_peak = np.minimum(np.abs(means - fat), np.abs(means - muscle)) < 0.04 * span
    return replace(
        levels,
        bone_fraction=float((image[body] > muscle + span / 5).mean()) if body.any() else 0.0,
        peak_fraction=float(in_peak[homogeneous].mean()),
        fat_outside=_is_fat_outside(means, fat, muscle, levels.air + span / 2),
    )


def _is_fat_outside(
    means: NDArray[np.floating[Any]], fat: float, muscle: float, threshold: float
) -> bool:
    body = means > threshold
    depth = _chamfer_distance(body)
    tolerance = (muscle - fat) / 4
    fat_depth, muscle_depth = (
        depth[body & (np.abs(means - level) < tolerance)] for level in (fat, muscle)
    )
    return bool(fat_depth.size and muscle_depth.size and fat_depth.mean() < muscle_depth.mean())


def _chamfer_distance(mask: BoolArray) -> NDArray[np.float32]:
    """Return the distance of each pixel from the nearest pixel outside a mask, in about pixels.

    The array is surrounded by pixels outside the mask.

    References
    ----------
    G. Borgefors: Distance transformations in digital images. Computer Vision, Graphics, and Image
    Processing 34 (1986): two passes with a mask of 3x3 pixels, optimal steps 0.955 and 1.3693.
    """
    straight, diagonal, unit = 9550, 13693, 10_000
    distance = np.pad(np.where(mask, unit * sum(mask.shape), 0), 1)
    along = straight * np.arange(distance.shape[1])
    for part in (distance, distance[::-1, ::-1]):
        for previous, row in pairwise(part):
            np.minimum(row, previous + straight, out=row)
            np.minimum(row[1:], previous[:-1] + diagonal, out=row[1:])
            np.minimum(row[:-1], previous[1:] + diagonal, out=row[:-1])
            row[:] = np.minimum.accumulate(row - along) + along
    return (distance[1:-1, 1:-1] / unit).astype(np.float32)


def _split_into_blocks(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Split (rows, columns) into (rows / size, columns / size, size, size), without the remainder.

    The mean of a block has less noise: of 8x8 pixels, an eighth of the SD of white noise.
    """
    rows, columns = (side // size for side in image.shape)
    cut = image[: rows * size, : columns * size]
    return cut.reshape(rows, size, columns, size).swapaxes(1, 2)


def _block_positions(shape: tuple[int, ...]) -> tuple[NDArray[np.floating[Any]], BoolArray]:
    """Return each block's distance from the centre (1 at the edges), and which are in corners."""
    y, x = (np.abs(2 * np.arange(n) + 1 - n) / n for n in shape)
    return np.hypot(y[:, None], x), y[:, None] + x > 1.5


def _uniform_level(means: NDArray[np.floating[Any]], tolerance: float) -> float | None:
    """Return the level of most blocks in the corners; None if they have no common level."""
    level = float(np.median(means))
    return level if np.percentile(np.abs(means - level), 75) <= tolerance else None


def _is_padding(
    means: NDArray[np.floating[Any]], inside: BoolArray, corner: float | None, tolerance: float
) -> BoolArray:
    """Mark blocks that have the level of the corners, if it is far below all other levels."""
    if corner is None:
        return np.zeros_like(inside)
    at_level: BoolArray = np.abs(means - corner) <= tolerance
    rest = means[inside & ~at_level]
    if rest.size == 0:
        return np.zeros_like(inside)
    bottom, top = np.percentile(rest, (2, 95))
    return at_level if corner < bottom - 0.25 * (top - bottom) else np.zeros_like(at_level)


def _measure_noise(blocks: NDArray[np.float32]) -> Noise:
    """Measure noise in uniform blocks (n, size, size)."""
    rest = blocks - blocks.mean((1, 2), keepdims=True)
    variance = (rest**2).mean((1, 2))
    side = (rest[:, :, 1:] * rest[:, :, :-1]).mean((1, 2))
    down = (rest[:, 1:] * rest[:, :-1]).mean((1, 2))
    total = float(variance.sum())
    if total == 0:
        return Noise(0.0, 0.0)
    bias = 1 / (blocks[0].size - 1)  # the mean of each block is subtracted
    correlation = float((side + down).sum()) / (2 * total) + bias
    return Noise(float(np.sqrt(np.median(variance) * (1 + bias))), correlation)


def _mode(values: NDArray[np.floating[Any]]) -> float:
    """Return the half-sample mode, a robust estimate of the most frequent value.

    References
    ----------
    D. R. Bickel, R. Fruehwirth: On a fast, robust estimator of the mode. Computational Statistics &
    Data Analysis 50 (2006).
    """
    values = np.sort(values)
    while len(values) > 3:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
        values = values[start : start + half]
    return float(values.mean())


def _two_peaks(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the modes below and above Otsu's threshold.

    References
    ----------
    N. Otsu: A threshold selection method from gray-level histograms. IEEE Transactions on Systems,
    Man, and Cybernetics 9 (1979).
    """
    values = np.sort(values)
    n = np.arange(1, len(values))
    left = np.cumsum(values)[:-1]
    right = values.sum() - left
    between = n * n[::-1] * (left / n - right / n[::-1]) ** 2
    cut = int(np.argmax(between)) + 1
    return _mode(values[:cut]), _mode(values[cut:])
