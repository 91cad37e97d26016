"""Surface distance metrics of two masks.

The surface of a mask is the set of its voxels with a face neighbour outside the mask or outside the
array. Distances are between the centres of surface voxels.
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
    """Compute the distance of each surface voxel to the other mask's surface.

    Parameters
    ----------
    reference, prediction:
        Masks (rows, columns) or (slices, rows, columns), not empty.
    spacing:
        Distance between voxel centres along each axis, in mm or 1.

    Returns
    -------
    tuple of arrays
        Distances from the reference's surface to the prediction's, and from the prediction's to
        the reference's; float32, in the unit of ``spacing``.
    """
    foreground = np.argwhere(reference | prediction)
    box = tuple(
        slice(int(a), int(b) + 1) for a, b in zip(foreground.min(0), foreground.max(0), strict=True)
    )
    surfaces = [surface(mask[box]) for mask in (reference, prediction)]
    distances = [
        edt.edt(np.ascontiguousarray(~border), anisotropy=tuple(spacing), black_border=False)
        for border in surfaces
    ]
    return distances[1][surfaces[0]], distances[0][surfaces[1]]


def surface(mask: BoolArray) -> BoolArray:
    """Return the surface voxels of a mask, an array of the mask's shape."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(mask.ndim):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.asarray((padded & ~inner)[(slice(1, -1),) * mask.ndim])


def distance_metrics(
    reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]
) -> dict[str, float]:
    """Compute Hausdorff distances, average surface distance and surface Dice.

    Parameters
    ----------
    reference, prediction:
        Masks (rows, columns) or (slices, rows, columns).
    spacing:
        Distance between voxel centres along each axis, in mm or 1.

    Returns
    -------
    dict of str to float
        ``hd``, the Hausdorff distance; ``hd95``, the larger of the 95th percentiles of both
        directions; ``assd``, the average symmetric surface distance; ``surface_dice_1`` to ``_3``,
        the fraction of both surfaces within 1 to 3 mm of the other. If one mask is empty, distances
        are the diagonal of the grid and surface Dice is 0.

    References
    ----------
    Huttenlocher et al., Comparing images using the Hausdorff distance, IEEE PAMI 1993.
    Heimann et al., Comparison and evaluation of methods for liver segmentation, IEEE TMI 2009.
    Nikolov et al., Deep learning to achieve clinically applicable segmentation, arXiv:1809.04430.
    """
    if not reference.any() or not prediction.any():
        sides = np.multiply(reference.shape, spacing)
        diagonal = float(np.sqrt((sides**2).sum()))
        empty = dict.fromkeys(("hd", "hd95", "assd"), diagonal)
        return empty | {f"surface_dice_{t:g}": 0.0 for t in TOLERANCES}
    forward, backward = surface_distances(reference, prediction, spacing)
    distances = np.concatenate([forward, backward])
    return {
        "hd": float(distances.max()),
        "hd95": float(max(np.percentile(forward, 95), np.percentile(backward, 95))),
        "assd": float(distances.mean()),
        **{f"surface_dice_{t:g}": float(np.mean(distances <= t)) for t in TOLERANCES},
    }


def largest_missed_area(
    reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]
) -> float:
    """Compute the area of the largest connected false negative region in any slice.

    A missed pleural nodule changes this metric, but hardly changes Dice.

    Parameters
    ----------
    reference, prediction:
        Masks (rows, columns) or (slices, rows, columns).
    spacing:
        Distance between voxel centres along each axis, in mm or 1.

    Returns
    -------
    float
        Area in mm2, or pixels if the spacing is 1.
    """
    missed = reference & ~prediction
    slices = missed if missed.ndim == 3 else missed[None]
    largest = 0
    for missed_slice in slices[slices.any((1, 2))]:
        components = cc3d.connected_components(missed_slice, connectivity=8)
        largest = max(largest, int(np.bincount(components.ravel())[1:].max()))
    return largest * float(spacing[-1] * spacing[-2])
