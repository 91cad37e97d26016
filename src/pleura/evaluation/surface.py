"""How far apart the borders of two masks lie.

The surface of a mask is its voxels that touch another value, or the edge of the picture, by a side.
Distances lead from the centres of the one's surface voxels to the nearest of the other's.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from pleura.typing import BoolArray

TOLERANCES = (1.0, 2.0, 3.0)


def surface_distances(
    reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return distances from the reference's surface to the prediction's, and the other way round.

    Both masks are (rows, columns) or (slices, rows, columns) and not empty; ``spacing`` is that of
    the axes, in mm or 1.
    """
    hit = np.argwhere(reference | prediction)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(hit.min(0), hit.max(0), strict=True))
    surfaces = [surface(mask[box]) for mask in (reference, prediction)]
    away = [
        edt.edt(np.ascontiguousarray(~border), anisotropy=tuple(spacing), black_border=False)
        for border in surfaces
    ]
    return away[1][surfaces[0]], away[0][surfaces[1]]


def surface(mask: BoolArray) -> BoolArray:
    """Return the voxels of a mask that have a neighbour outside it, across a side."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.asarray((padded & ~inner)[(slice(1, -1),) * mask.ndim])


def distance_metrics(
    reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]
) -> dict[str, float]:
    """Return ``hd``, ``hd95``, ``mean_distance`` and ``surface_dice_1`` to ``_3``.

    Hausdorff distances are the larger of both directions, HD95 that of the two 95th percentiles
    (Huttenlocher 1993); the mean distance is over both surfaces (ASSD, Heimann 2009); surface Dice
    is the share of both surfaces within the tolerance of the other (Nikolov 2018). Where one mask
    is empty, distances are the diagonal of the grid, which none can exceed, and shares 0.
    """
    if not reference.any() or not prediction.any():
        sides = np.multiply(reference.shape, spacing)
        farthest = float(np.sqrt((sides**2).sum()))
        far = dict.fromkeys(("hd", "hd95", "mean_distance"), farthest)
        return far | {f"surface_dice_{t:g}": 0.0 for t in TOLERANCES}
    there, back = surface_distances(reference, prediction, spacing)
    both = np.concatenate([there, back])
    return {
        "hd": float(both.max()),
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "mean_distance": float(both.mean()),
        **{f"surface_dice_{t:g}": float(np.mean(both <= t)) for t in TOLERANCES},
    }


def largest_missed(reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]) -> float:
    """Return the area of the largest connected piece of a slice that is missed, in mm2 or pixels.

    A nodule at the pleura that is left out shows here, and hardly in Dice.
    """
    missed = reference & ~prediction
    slices = missed if missed.ndim == 3 else missed[None]
    largest = 0
    for one in slices[slices.any((1, 2))]:
        pieces = cc3d.connected_components(one, connectivity=8)
        largest = max(largest, int(np.bincount(pieces.ravel())[1:].max()))
    return largest * float(spacing[-1] * spacing[-2])
