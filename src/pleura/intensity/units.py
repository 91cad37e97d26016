"""Intensity units of a set of slices, estimated from the pixels alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.fitting import SCALED_ONE_BY_ONE, fit_units
from pleura.intensity.grey import grey_range
from pleura.intensity.levels import LEVEL_TOLERANCE, Levels, measure_levels
from pleura.intensity.reference import FAT, MUSCLE
from pleura.names import counted

SCALE_TOLERANCE = 0.15
"""Relative deviation from 1 of a scale that was estimated from air: blankets and the couch are
brighter than air, so smaller deviations are not evidence of other units."""

_NO_AIR = "HU: fat and muscle have their usual HU; no air was found around the patient."
_LABEL_MAP = "Unknown: the values are constant over large areas, as in a mask or label map."

Group = tuple[list[int], UnitsEstimate]
"""Indices of images that share their units, and these units."""


def estimate_units(images: Iterable[NDArray[Any]]) -> UnitsEstimate:
    """Estimate the units of CT slices.

    Parameters
    ----------
    images:
        Slices (rows, columns) of any real dtype; one is held in memory at a time.
    """
    return estimate_units_from_levels([measure_levels(image) for image in images])


def estimate_units_from_levels(levels: Sequence[Levels], states_hu: bool = False) -> UnitsEstimate:
    """Estimate the units of a set of slices from their levels.

    Every reader, `check` and the training use this estimate.

    Parameters
    ----------
    levels:
        Levels of each slice.
    states_hu:
        Whether the header states that the values are HU; then an offset needs no evidence that the
        slices are CT.
    """
    wrapped = _estimate_wrapped(levels)
    if wrapped is not None:
        return wrapped
    units = _estimate(levels, states_hu)
    if levels and all(image.piecewise_constant for image in levels) and units.kind != "HU":
        return UnitsEstimate("unknown", _LABEL_MAP)
    if units.kind == "grey":
        return replace(units, grey_limits=_grey_limits(levels, units.differing))
    return units


def are_inverted(levels: Sequence[Levels]) -> bool:
    """Return whether air may be bright in most slices."""
    return sum(image.inverted is not None for image in levels) > len(levels) / 2


def _grey_limits(levels: Sequence[Levels], differing: Sequence[int]) -> tuple[float, float]:
    """Return the stored values of black and white in a set of greyscale images."""
    grey = [image for i, image in enumerate(levels) if i not in differing]
    black, white = grey_range(min(x.minimum for x in grey), max(x.maximum for x in grey))
    return (white, black) if are_inverted(grey) else (black, white)


def _estimate_wrapped(levels: Sequence[Levels]) -> UnitsEstimate | None:
    """Return HU with lost signs, if restoring them gives HU or HU with a known offset."""
    candidates = [image.wraparound for image in levels if image.wraparound is not None]
    if not candidates or len(candidates) < 0.5 * len(levels):
        return None
    wraparound = max(set(candidates), key=candidates.count)
    restored = [
        image.unwrapped if image.wraparound == wraparound and image.unwrapped is not None else image
        for image in levels
    ]
    units = _estimate(restored)
    if units.kind not in ("HU", "offset HU"):
        return None
    cause = "signed numbers were read as unsigned ones"
    if wraparound.minimum == 0:
        cause = "unsigned numbers were read as signed ones"
    units = replace(units, kind="wrapped HU", wraparound=wraparound)
    evidence = "with their signs restored, air, fat and muscle have their usual HU"
    return replace(units, reason=f"Not HU but {units.formula}: {cause}; {evidence}.")


def _estimate(levels: Sequence[Levels], states_hu: bool = False) -> UnitsEstimate:
    """Estimate the units of the largest group of images that share them."""
    pictures = [i for i, image in enumerate(levels) if image.eight_bit or image.in_unit_range]
    with_air = sorted(
        {i for i, image in enumerate(levels) if image.air is not None} - set(pictures)
    )
    if not pictures and not with_air:
        if _has_tissue_in_hu(levels):
            return UnitsEstimate("HU", _NO_AIR, scale=1.0, offset=0.0)
        return UnitsEstimate("unknown", "Unknown: no air was found around any patient.")
    groups: list[Group] = [
        (group, fit_units([levels[i] for i in group], states_hu))
        for group in _group_by_levels(levels, with_air)
    ]
    if _are_scaled_one_by_one(groups):
        return UnitsEstimate("grey", SCALED_ONE_BY_ONE)
    if pictures:
        groups.append((pictures, _describe_pictures([levels[i] for i in pictures])))
    groups.sort(key=lambda group: len(group[0]), reverse=True)

    main, units = groups[0]
    # Lung at the border may be mistaken for air: one or two images are not evidence.
    min_images = max(3, 0.15 * len(levels))
    others = [
        (group, estimate)
        for group, estimate in groups[1:]
        if len(group) >= min_images and _differ_in_units(estimate, units)
    ]
    rest = {*with_air, *pictures} - set(main)
    differing = {i for i in rest if i in pictures or _contradicts(levels[i], units)}
    differing.update(i for group, _ in others for i in group)
    if others and units.kind != "unknown":
        counts = [
            f"{counted(len(group), 'image')} in {e.formula}" for group, e in [groups[0], *others]
        ]
        units = UnitsEstimate("mixed", f"Several units: {'; '.join(counts)}.")
    return replace(units, differing=tuple(sorted(differing)))


def _has_tissue_in_hu(levels: Sequence[Levels]) -> bool:
    """Return whether fat, muscle and the dark parts of a cropped scan have their HU."""
    if not levels:
        return False
    fat = float(np.median([image.fat for image in levels]))
    muscle = float(np.median([image.muscle for image in levels]))
    low = float(np.median([image.percentiles[1] for image in levels]))
    return abs(fat - FAT) < 45 and abs(muscle - MUSCLE) < 45 and -3100 < low < -500  # or padding


def _describe_pictures(levels: Sequence[Levels]) -> UnitsEstimate:
    low, high = min(image.minimum for image in levels), max(image.maximum for image in levels)
    bits = "8-bit, " if all(image.eight_bit for image in levels) else ""
    return UnitsEstimate("grey", f"Grey values, not HU: {bits}from {low:g} to {high:g}.")


def _group_by_levels(levels: Sequence[Levels], chosen: Sequence[int]) -> list[list[int]]:
    """Group images with equal levels of air and soft tissue, the largest group first."""
    air = np.array([levels[i].air for i in chosen], np.float64)
    tissue = np.array([levels[i].soft_tissue for i in chosen])
    left = np.ones(len(chosen), np.bool_)
    groups = []
    while left.any():
        # A hundred candidates find every large group, even among thousands of images.
        candidates = np.flatnonzero(left)[:: 1 + int(left.sum()) // 100]
        similar = [
            left
            & (np.abs(air - air[k]) <= LEVEL_TOLERANCE * (tissue[k] - air[k]))
            & (np.abs(tissue - tissue[k]) <= 3 * LEVEL_TOLERANCE * (tissue[k] - air[k]))
            for k in candidates
        ]
        group = max(similar, key=lambda members: int(members.sum()))
        groups.append([i for i, member in zip(chosen, group, strict=True) if member])
        left &= ~group
    return sorted(groups, key=len, reverse=True)


def _are_scaled_one_by_one(groups: Sequence[Group]) -> bool:
    """Return whether each image was scaled separately: the largest group has few images."""
    if not groups:
        return False
    total = sum(len(group) for group, _ in groups)
    main, units = groups[0]
    enough = (0.9 if units.scale_from == "tissue" else 0.3) * total
    return units.kind == "grey" or len(main) < enough


def _differ_in_units(estimate: UnitsEstimate, main: UnitsEstimate) -> bool:
    """Return whether two groups differ in units, and not only in the level regarded as air."""
    if estimate.kind == "unknown" or estimate.formula == main.formula:
        return False
    if estimate.scale is None or main.scale is None or estimate.offset != main.offset:
        return True
    return abs(estimate.scale / main.scale - 1) >= SCALE_TOLERANCE


def _contradicts(levels: Levels, units: UnitsEstimate) -> bool:
    """Return whether an image cannot have the units of a set.

    Lung may be mistaken for air, but not if the corners have the same level.
    """
    if levels.air is None or units.air is None or units.fat is None or units.muscle is None:
        return False
    tissue = (units.fat + units.muscle) / 2
    span = tissue - units.air
    higher = (levels.air - units.air) / span
    difference = abs(levels.soft_tissue - tissue) / span
    certain = levels.corner is not None and (
        abs(levels.corner - levels.air) < LEVEL_TOLERANCE * span
    )
    allowed = 2 * LEVEL_TOLERANCE if certain else 0.25
    return not -LEVEL_TOLERANCE < higher < allowed or difference > 0.25
