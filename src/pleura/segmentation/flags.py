"""Quality flags: reasons to check a mask before it is used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pleura.masks.mask import Flag
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT, count_voxels
from pleura.scan.scan import Scan

MIN_VOLUME_ML, MAX_VOLUME_ML = 800.0, 9000.0
"""Usual volumes of both lungs in a scan of the whole chest, from a small child to a large adult."""

MIN_ASYMMETRY = 0.2
"""Smallest usual size of the smaller lung, relative to the larger one."""

MAX_LOW_CONFIDENCE = 0.26
"""Largest usual number of voxels of a volume with a probability of 0.2 to 0.8, per lung voxel."""

MAX_LOW_CONFIDENCE_2D, LUNG_SHARE_EXPONENT = 0.097, 0.35
"""The same for a single slice, times the lung's share of the slice to the power of the exponent:
a small lung has more border for its size. benchmarks/confidence.py determined both."""

MAX_LOW_CONFIDENCE_GREYSCALE = 0.14
"""`MAX_LOW_CONFIDENCE_2D` of greyscale images, in which fewer borders are clear."""

DECISION_TOPICS = ("units", "padding", "pixels", "slices", "orientation", "coverage")
"""Topics of decisions whose warnings are also flags. The first three concern the conversion of
stored values to HU."""


def find_flags(
    labels: NDArray[np.uint8],
    scan: Scan,
    geometry: Geometry,
    low_confidence: float,
    contradictions: tuple[str, ...] = (),
    discontinuity: str = "",
    *,
    sides: bool,
) -> tuple[Flag, ...]:
    """Return the flags of a mask, one per name.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns), canonical axial.
    scan:
        The scan of the mask.
    geometry:
        Grid of ``labels``.
    low_confidence:
        Number of voxels with a probability of 0.2 to 0.8, per voxel of lung.
    contradictions:
        Clauses on anatomy that contradicts the orientation: see `Landmarks.contradictions`.
    discontinuity:
        A clause on slices that differ from their neighbours: see `find_discontinuity`.
    sides:
        Whether right and left lung have different labels.
    """
    messages: dict[str, list[str]] = {}
    for flag in _flags(labels, scan, geometry, low_confidence, sides=sides):
        messages.setdefault(flag.name, []).append(flag.message)
    if contradictions and "no_lung" not in messages:
        messages.setdefault("orientation", []).append(_orientation(contradictions, geometry))
    if discontinuity:
        messages.setdefault("slices", []).append(discontinuity)
    return tuple(Flag(name, "; ".join(texts)) for name, texts in messages.items())


def _orientation(contradictions: tuple[str, ...], geometry: Geometry) -> str:
    known = geometry.orientation_known
    orientation = "the orientation in the header" if known else "the assumed orientation"
    hint = "export the scan again" if known else "pass --flip, or use a format with orientation"
    return (
        f"{' and '.join(contradictions)}, which contradicts {orientation} (or situs inversus): "
        f"right and left may be swapped. hint: compare with the original images, and {hint}"
    )


def _flags(
    labels: NDArray[np.uint8], scan: Scan, geometry: Geometry, low_confidence: float, *, sides: bool
) -> Iterator[Flag]:
    counts = {side: count_voxels(labels, side) for side in (RIGHT, LEFT)}
    total = sum(counts.values())
    for decision in scan.warnings:
        if decision.topic in DECISION_TOPICS and (total or decision.topic != "orientation"):
            yield Flag(decision.topic, f"{decision.choice}: {decision.reason}")
    if total == 0:
        yield Flag("no_lung", "no lung was found")
        return
    if scan.is_volume and geometry.spacing_known:
        ml = total * geometry.voxel_volume
        if not MIN_VOLUME_ML <= ml <= MAX_VOLUME_ML:
            usual = f"usual volumes are {MIN_VOLUME_ML:.0f} to {MAX_VOLUME_ML:.0f} ml"
            yield Flag("volume", f"the volume of both lungs is {ml:.0f} ml; {usual}")
    if sides and min(counts[RIGHT], counts[LEFT]) < MIN_ASYMMETRY * max(counts.values()):
        side = "right" if counts[RIGHT] < counts[LEFT] else "left"
        yield Flag("asymmetric", f"the {side} lung is missing or much smaller than the other")
    if scan.is_volume and (labels[0].any() or labels[-1].any()):
        reached = [end for end, i in (("lowest", 0), ("highest", -1)) if labels[i].any()]
        yield Flag("truncated", f"the lung reaches the {' and the '.join(reached)} slice")
    if any(edge.any() for edge in (labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1])):
        yield Flag("border", "the lung reaches the border of the image")
    if _is_low_confidence(low_confidence, total / labels.size, scan):
        uncertain = f"{low_confidence * total:,.0f} voxels have a probability of 0.2 to 0.8"
        yield Flag("low_confidence", f"{uncertain}; the mask has {total:,} voxels")


def _is_low_confidence(low_confidence: float, lung_share: float, scan: Scan) -> bool:
    if scan.is_volume:
        return low_confidence > MAX_LOW_CONFIDENCE
    calibrated = scan.intensity.calibrated
    limit = MAX_LOW_CONFIDENCE_2D if calibrated else MAX_LOW_CONFIDENCE_GREYSCALE
    return bool(low_confidence * lung_share**LUNG_SHARE_EXPONENT > limit)
