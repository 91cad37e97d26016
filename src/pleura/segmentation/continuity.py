"""Slices whose values contradict those of their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TISSUE = -500
"""HU: brighter pixels are compared. Air and lung would hide what a body shows."""

BASE, PER_MM = 300.0, 15.0
"""HU between neighbours, median over tissue, that are no anatomy: at steps of 0 mm, and for each
millimetre more. In four whole chests the largest is 39 at 3 mm, 138 at 12 mm, 308 at 24 mm and 828
at 36 mm, cropped ones included; values shifted by 1024 HU make 920 to 1024, halved ones 345."""


def find_jumps(sampled: NDArray[np.int16], step: float) -> str:
    """Return a clause on slices that differ from their neighbours by more than anatomy; or "".

    Constant slices at both ends are padding, and left out.

    Parameters
    ----------
    sampled:
        HU (slices, rows, columns), some of the pixels.
    step:
        Millimetres from slice to slice.
    """
    hu = np.clip(sampled, -1000, 400)
    varied = np.flatnonzero([np.ptp(one) > 0 for one in hu])
    if varied.size < 2:
        return ""
    pairs = range(int(varied[0]), int(varied[-1]))
    jumps = {i: apart for i in pairs if (apart := _apart(hu[i], hu[i + 1])) > BASE + PER_MM * step}
    if not jumps:
        return ""
    worst = max(jumps, key=lambda i: jumps[i])
    return (
        f"values differ by {jumps[worst]:.0f} HU between slices {worst + 1} and {worst + 2} from "
        "the feet, more than anatomy does: the rescale of a slice is wrong, or its place"
    )


def _apart(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """Return the median difference of two slices where either shows tissue."""
    tissue = np.maximum(one, other) > TISSUE
    return float(np.median(np.abs(one - other)[tissue])) if tissue.mean() > 0.02 else 0.0
