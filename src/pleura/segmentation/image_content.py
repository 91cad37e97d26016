"""Evidence that an image in grey values is not one CT slice of the chest.

The functions use HU at every ``HU_STEP``-th row and column. `benchmarks/not_ct.py` measures the
limits on images that are no CT, and on CT slices exported as 8-bit images.
"""

from __future__ import annotations

from collections.abc import Iterator

import cc3d
import numpy as np
from numpy.typing import NDArray

from pleura.masks.mask import Flag
from pleura.typing import BoolArray

MAX_GAP_CONTRAST = 0.06
"""Largest range of values in a row or column between two panels, relative to that of the image."""

MIN_PANEL = 0.15
"""Smallest height or width of a panel, relative to the image."""

MIN_BODY = 0.35
"""Smallest area of a second body or panel, relative to the largest one; arms and the couch are
smaller."""

TISSUE_HU = -500
"""HU above which a voxel is tissue."""

MIN_SEPARATED = 0.75
"""Smallest usual fraction of a margin of two samples around the mask that is nearer to the median
of the margin than to that of the mask."""

MIN_CONTRAST = 0.1
"""Smallest usual difference of these medians, relative to the range of values of the image."""


def find_other_content(hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> tuple[Flag, ...]:
    """Return flags of images that are no CT, or several CT slices in one image.

    They give the reason for a mask that is empty or has a low confidence, as those of such images
    are.

    Parameters
    ----------
    hu:
        int16 (slices, rows, columns): estimated HU of canonical slices, or other values.
    labels:
        uint8 (slices, rows, columns): the mask at the same voxels.
    """
    return tuple(_flags(hu, labels > 0))


def _flags(hu: NDArray[np.int16], lung: BoolArray) -> Iterator[Flag]:
    chosen = np.unique(np.linspace(0, len(hu) - 1, 9).astype(int))
    if np.median([count_panels(hu[i]) for i in chosen]) > 1:
        yield Flag("panels", "the image contains several panels. hint: crop one of them")
    margin = _dilate(lung, 2) & ~lung
    if not margin.any() or not lung.any():
        return
    inside, around = float(np.median(hu[lung])), float(np.median(hu[margin]))
    contrast = abs(around - inside) / max(float(np.ptp(hu)), 1.0)
    separated = float((np.abs(hu[margin] - around) < np.abs(hu[margin] - inside)).mean())
    if contrast < MIN_CONTRAST:
        reason = "the mask hardly differs from its surroundings"
    elif separated < MIN_SEPARATED:
        reason = f"only {100 * separated:.0f} % of the surroundings of the mask differ from it"
    else:
        return
    yield Flag("not_ct", f"the image may be no chest CT: {reason}. hint: look at the image")


def count_panels(hu: NDArray[np.int16]) -> int:
    """Return the number of panels of an image (rows, columns), at least 1.

    They are separated by uniform rows or columns, or are separate bodies of similar size.
    """
    limit = MAX_GAP_CONTRAST * float(np.ptp(hu))
    across = max(_count_runs(side > side.min() + limit, limit, side) for side in (hu, hu.T))
    components = cc3d.connected_components((hu > TISSUE_HU).astype(np.uint8), connectivity=4)
    areas = np.bincount(components.ravel())[1:]
    bodies = int((areas >= MIN_BODY * areas.max()).sum()) if areas.size else 1
    return max(across, bodies, 1)


def _count_runs(content: BoolArray, limit: float, hu: NDArray[np.int16]) -> int:
    """Return the number of panels between uniform rows; ``content`` are the voxels above air."""
    rows = np.concatenate([[False], np.ptp(hu, axis=1) > limit, [False]])
    edges = np.flatnonzero(np.diff(rows.astype(np.int8))).reshape(-1, 2)
    areas = [content[a:b].sum() if b - a >= MIN_PANEL * len(hu) else 0 for a, b in edges]
    return sum(area >= MIN_BODY * max(areas) > 0 for area in areas)


def _dilate(mask: BoolArray, steps: int) -> BoolArray:
    """Return a mask (slices, rows, columns) with a margin of ``steps`` in each slice."""
    grown = mask.copy()
    for _ in range(steps):
        previous = grown.copy()
        grown[:, 1:] |= previous[:, :-1]
        grown[:, :-1] |= previous[:, 1:]
        grown[..., 1:] |= previous[..., :-1]
        grown[..., :-1] |= previous[..., 1:]
    return grown
