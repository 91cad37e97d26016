"""Scale and offset of images that share their units, fitted to the levels of CT in HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pleura.intensity.estimate import NoiseRegion, PaddingLevel, ScaleSource, UnitsEstimate
from pleura.intensity.levels import LEVEL_TOLERANCE, Levels, Noise
from pleura.intensity.reference import AIR, OFFSETS, PADDING, SOFT_TISSUE

SCALED_ONE_BY_ONE = (
    "Grey values, not HU: fat and muscle have different values in every image, "
    "as if each image was scaled separately."
)

_FAT_TO_MUSCLE, _BONE_FRACTION, _PEAK_FRACTION = (0.1, 0.22), (0.006, 0.15), 0.6
"""Properties of CT in any units: the distance from fat to muscle, relative to that from air to soft
tissue (0.155 in HU); the fraction of the body that is bone; the fraction of homogeneous soft tissue
that is at one of the two levels. All slices of three whole scans and 6 of 7 single slices of
hospital scans are within these limits."""

_NOT_CT = "Unknown: fat, muscle and bone do not have the contrast of CT; it may be MR or PET."


def fit_units(levels: Sequence[Levels], states_hu: bool) -> UnitsEstimate:
    """Estimate the units of images that share them.

    Parameters
    ----------
    levels:
        Levels of each image; air was found in at least one.
    states_hu:
        Whether the header states that the values are HU; then an offset needs no evidence that the
        images are CT.
    """
    air = float(np.median([image.air for image in levels if image.air is not None]))
    fat = float(np.median([image.fat for image in levels]))
    muscle = float(np.median([image.muscle for image in levels]))
    if muscle - fat > 0.5 * (fat - air):
        return UnitsEstimate(
            "unknown", "Unknown: air, fat and muscle do not have the relative distances of CT."
        )

    scale, offset, scale_from = _fit_line(air, (fat + muscle) / 2)
    if scale_from == "tissue" and _variation_of_peaks(levels) > 0.035 * (muscle - air):
        return UnitsEstimate("grey", SCALED_ONE_BY_ONE)
    padded = [
        image
        for image in levels
        if image.corner is not None and image.corner < air - (muscle - air) / 4
    ]
    padding: tuple[PaddingLevel, ...] = ()
    if scale_from == "air":
        corners = [image.corner for image in padded if image.corner is not None]
        padding, refined = _match_padding(corners, scale, offset)
        if refined is not None:
            scale, scale_from = refined, "padding"
    if scale_from != "padding" and (scale != 1 or offset):
        known = scale_from == "air"
        if not (known and states_hu) and not _resembles_ct(levels, 2 if known else 1):
            return UnitsEstimate("unknown", _NOT_CT)
    if abs(scale - 1) < (0.005 if scale_from == "padding" else LEVEL_TOLERANCE):
        scale = 1.0
    elif np.median([image.clipped_fraction for image in levels]) > 0.5:
        return UnitsEstimate("unknown", f"Unknown: values are clipped at {air:g}, above air.")
    noise, noise_in = _find_added_noise(levels, padded, scale)
    estimate = UnitsEstimate(
        kind="scaled HU" if scale != 1 else "offset HU" if offset else "HU",
        reason="",
        scale=scale,
        offset=offset,
        scale_from=scale_from,
        noise=noise,
        noise_in=noise_in,
        air=air,
        fat=fat,
        muscle=muscle,
        padding=padding,
    )
    return replace(estimate, reason=estimate.describe_levels())


def _resembles_ct(levels: Sequence[Levels], tolerance: float) -> bool:
    """Return whether fat, muscle and bone have the contrast of CT, in any units.

    In MR fat is brighter than muscle, and bone is dark; in PET neither is a peak. A larger
    ``tolerance`` suffices where the levels also have known HU.
    """
    distances = [
        (image.muscle - image.fat) / (image.soft_tissue - image.air)
        for image in levels
        if image.air is not None
    ]
    bone = float(np.median([image.bone_fraction for image in levels]))
    peaks = float(np.median([image.peak_fraction for image in levels]))
    outside = float(np.mean([image.fat_outside for image in levels]))
    low, high = _FAT_TO_MUSCLE[0] / tolerance**2, _FAT_TO_MUSCLE[1] * tolerance**0.5
    return bool(
        low < np.median(distances) < high
        and _BONE_FRACTION[0] / tolerance < bone < _BONE_FRACTION[1] * tolerance
        and peaks > _PEAK_FRACTION / tolerance
        and outside >= 0.5
    )


def _variation_of_peaks(levels: Sequence[Levels]) -> float:
    """Return the interquartile range of fat or muscle between images, whichever is smaller.

    In HU it is less than 3 % of the distance from air to muscle.
    """
    peaks = np.array([(image.fat, image.muscle) for image in levels])
    return float(np.ptp(np.percentile(peaks, (25, 75), axis=0), axis=0).min())


def _fit_line(air: float, tissue: float) -> tuple[float, float, ScaleSource]:
    """Return scale and offset; a known offset if air and soft tissue are compatible with it."""
    # Fat, muscle and contrast medium shift the level of soft tissue within this range.
    if air < 0 and -0.15 < tissue / -air < 0.25:
        return air / AIR, 0.0, "air"
    known = min(OFFSETS, key=lambda k: abs(air - AIR - k) + abs(tissue - SOFT_TISSUE - k))
    if abs(air - AIR - known) < 60 and abs(tissue - known) < 150:
        return 1.0, known, "air"
    scale = (tissue - air) / (SOFT_TISSUE - AIR)
    return scale, air - AIR * scale, "tissue"


def _match_padding(
    corners: Sequence[float], scale: float, offset: float
) -> tuple[tuple[PaddingLevel, ...], float | None]:
    """Match padding levels with known padding values, and refine the scale by the matches.

    Returns
    -------
    padding:
        The padding levels.
    scale:
        The scale at which most images match; None if none match.
    """
    ordered = np.sort(corners)
    steps = np.diff(ordered) > 0.005 * np.abs(ordered[1:] - offset)
    clusters = [c for c in np.split(ordered, np.flatnonzero(steps) + 1) if c.size]
    counts = [(float(np.median(cluster)), len(cluster)) for cluster in clusters]
    best: tuple[int, float, dict[float, int]] = (0, 0.0, {})
    # Another factor replaces 1 only if it matches more images: clipped air hides the factor.
    for factor in (1.0, *((level - offset) / hu for level, _ in counts for hu in PADDING)):
        if abs(factor / scale - 1) > LEVEL_TOLERANCE:
            continue
        matches = {
            level: hu
            for level, _ in counts
            for hu in PADDING
            if abs(level - offset - factor * hu) < 0.004 * abs(factor * hu)
        }
        images = sum(n for level, n in counts if level in matches)
        nearness = 0.0 if factor == 1 else -abs(factor - scale)
        best = max(best, (images, nearness, matches), key=lambda b: b[:2])
    images, _, matches = best
    padding = tuple(PaddingLevel(level, matches.get(level), n) for level, n in counts)
    if not images:
        return padding, None
    factors = [p.images * (p.level - offset) / p.hu for p in padding if p.hu is not None]
    return padding, sum(factors) / images


def _find_added_noise(
    levels: Sequence[Levels], padded: Sequence[Levels], scale: float
) -> tuple[Noise | None, NoiseRegion | None]:
    """Find noise that was added after reconstruction.

    That is any noise in padding, or strong noise in air without correlation between pixels.
    """
    in_padding = _median_noise([image.corner_noise for image in padded])
    if in_padding is not None:
        return (in_padding, "padding") if in_padding.sd > 2 * scale else (None, None)
    in_air = _median_noise([image.air_noise for image in levels])
    if in_air is not None and in_air.sd > 20 * scale and abs(in_air.correlation) < 0.06:
        return in_air, "air"
    return None, None


def _median_noise(noises: Sequence[Noise | None]) -> Noise | None:
    measured = [(noise.sd, noise.correlation) for noise in noises if noise is not None]
    return Noise(*(float(value) for value in np.median(measured, axis=0))) if measured else None
