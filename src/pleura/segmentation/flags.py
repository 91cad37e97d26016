"""Reasons not to trust a mask, told from the mask and its scan."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pleura.masks.mask import Flag
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan

SMALL, LARGE = 800.0, 9000.0
"""Millilitres of both lungs in a whole chest: between a small child and the largest adult."""

LOPSIDED = 0.2
"""Of the larger lung: a smaller one is missing, collapsed, or taken for the other."""

UNSURE = 0.26
"""Voxels with a probability of 0.2 to 0.8 per voxel of lung, from which on a volume is flagged."""

SLICE_UNSURE, SMALL_LUNG = 0.097, 0.35
"""The same for a single slice, times the lung's share of the slice to the power of the second: a
small lung has more border for its size. Chosen by benchmarks/confidence.py."""

DOUBTS = ("units", "padding", "pixels", "slices", "orientation", "coverage")
"""What decisions are about that are flags where they are warnings. The first three are how stored
values became HU."""


def find_flags(
    labels: NDArray[np.uint8],
    scan: Scan,
    geometry: Geometry,
    unsure: float,
    contradictions: tuple[str, ...] = (),
    jumps: str = "",
    *,
    sides: bool,
) -> tuple[Flag, ...]:
    """Return the flags of a mask, one per name.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns), canonical axial.
    scan:
        The scan that it is of.
    geometry:
        The labels' own grid.
    unsure:
        Voxels with a probability of 0.2 to 0.8, per voxel of lung.
    contradictions:
        Clauses on anatomy that contradicts the orientation: see `Landmarks.contradictions`.
    jumps:
        A clause on slices that contradict their neighbours: see `find_jumps`.
    sides:
        Whether right and left are told apart.
    """
    texts: dict[str, list[str]] = {}
    for flag in _flags(labels, scan, geometry, unsure, sides=sides):
        texts.setdefault(flag.name, []).append(flag.message)
    if contradictions and "no lung" not in texts:
        texts.setdefault("orientation", []).append(_orientation(contradictions, geometry))
    if jumps:
        texts.setdefault("slices", []).append(jumps)
    return tuple(Flag(name, "; ".join(what)) for name, what in texts.items())


def _orientation(contradictions: tuple[str, ...], geometry: Geometry) -> str:
    known = geometry.orientation_known
    stated = "the orientation in the header" if known else "the assumed orientation"
    advice = "export the scan again" if known else "pass --flip, or a format that has one"
    return (
        f"{' and '.join(contradictions)}, which contradicts {stated} (or situs inversus): right and"
        f" left may be exchanged. hint: compare with the original images, and {advice}"
    )


def _flags(
    labels: NDArray[np.uint8], scan: Scan, geometry: Geometry, unsure: float, *, sides: bool
) -> Iterator[Flag]:
    counts = {side: int(np.count_nonzero(labels == side)) for side in (RIGHT, LEFT)}
    total = sum(counts.values())
    for decision in scan.warnings:
        if decision.topic in DOUBTS and (total or decision.topic != "orientation"):
            yield Flag(decision.topic, f"{decision.choice}: {decision.reason}")
    if total == 0:
        yield Flag("no lung", "no lung was found")
        return
    if scan.is_volume and geometry.spacing_known:
        ml = total * geometry.voxel_volume
        if not SMALL <= ml <= LARGE:
            yield Flag("volume", f"{ml:.0f} ml of lung in all; {SMALL:.0f} to {LARGE:.0f} is usual")
    if sides and min(counts[RIGHT], counts[LEFT]) < LOPSIDED * max(counts[RIGHT], counts[LEFT]):
        side = "right" if counts[RIGHT] < counts[LEFT] else "left"
        yield Flag("one side", f"the {side} lung is missing or much smaller than the other")
    if scan.is_volume and (labels[0].any() or labels[-1].any()):
        ends = [end for end, i in (("lowest", 0), ("highest", -1)) if labels[i].any()]
        yield Flag("cut off", f"the lung reaches the {' and the '.join(ends)} slice")
    if any(edge.any() for edge in (labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1])):
        yield Flag("border", "the lung reaches the picture's border")
    if _is_unsure(unsure, total / labels.size, scan.is_volume):
        yield Flag("unsure", f"the border is uncertain: {unsure:.0%} of the lung's size")


def _is_unsure(unsure: float, lung_share: float, is_volume: bool) -> bool:
    return unsure > UNSURE if is_volume else unsure * lung_share**SMALL_LUNG > SLICE_UNSURE
