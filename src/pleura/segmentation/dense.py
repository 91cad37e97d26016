"""Dense lung: consolidated or collapsed parts and masses, which a mask of aerated lung leaves out.

A second model predicts the space that lung should fill. Arrays are canonical axial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.scan.geometry import Geometry
from pleura.scan.labels import count_voxels, labels_by_region
from pleura.scan.scan import Decision, Scan
from pleura.segmentation.postprocessing import HU_STEP, clean_mask
from pleura.typing import BoolArray

DenseOption = Literal["exclude", "include"]
"""Whether a mask excludes or includes dense lung."""

RIM = 0.004
"""Half of the width, relative to that of a slice, up to which a part is not added: at the border
of healthy lung two models differ by as much."""

MIN_ADDED, MIN_SEPARATE = 0.002, 0.1
"""Minimum size of a part that is added, relative to the mask: if it touches the mask, and if it
does not."""

GAS, FLUID = -900, 30
"""HU: a part is gas if its median is below the first value. One that does not touch the mask is
fluid if its median is below the second value."""


def require_hu(scan: Scan) -> None:
    """Require that the values of a scan are HU, on which the model of dense lung was trained.

    Raises
    ------
    ScanError
        The values are grey values.
    """
    if not scan.intensity.calibrated:
        raise ScanError(
            "dense lung can be included in scans in HU only; this scan has grey values",
            where=scan.source or scan.name,
            hint="pass the scan as DICOM or NIfTI, or --dense exclude",
        )


def include_dense(lung: BoolArray, space: BoolArray, hu: NDArray[np.int16]) -> BoolArray:
    """Return a mask with the dense parts of the lungs.

    Parameters
    ----------
    lung:
        bool (slices, rows, columns): the mask without them.
    space:
        bool: what the second model predicted.
    hu:
        int16: HU at every ``HU_STEP``-th row and column.

    Returns
    -------
    bool (slices, rows, columns)
        ``lung``, and the parts of ``space`` that are thick, large enough and not gas. A part that
        does not touch ``lung`` is added only if it is a missing lung, and not fluid. Nothing is
        added if there is no lung.
    """
    added = _thick_parts(space & ~lung)
    if not (lung.any() and added.any()):
        return lung
    components = cc3d.connected_components(added, connectivity=26, out_dtype=np.uint32)
    statistics = cc3d.statistics(components)
    sizes = statistics["voxel_counts"] / int(lung.sum())
    kept = np.zeros(len(sizes), np.bool_)
    touching = np.unique(components[_grow(lung, 1) & added])
    columns = np.flatnonzero(lung.any((0, 1)))
    sampled = components[:, ::HU_STEP, ::HU_STEP]
    for i in 1 + np.flatnonzero(sizes[1:] >= MIN_ADDED):
        values = hu[sampled == i]
        density = np.median(values) if len(values) else 0
        if i in touching:
            kept[i] = density >= GAS
        else:
            column = statistics["centroids"][i, 2]
            is_missing_lung = not columns[0] <= column <= columns[-1]
            kept[i] = sizes[i] >= MIN_SEPARATE and is_missing_lung and density >= FLUID
    return lung | clean_mask(lung | kept[components], hu)


def count_added(labels: NDArray[np.uint8], without: BoolArray, *, sides: bool) -> dict[str, int]:
    """Return the number of voxels of each region outside the mask without dense lung.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns).
    without:
        bool: the mask without dense lung.
    sides:
        Whether right and left lung have different labels.
    """
    regions = labels_by_region(sides=sides)
    return {name: count_voxels(labels * ~without, i) for name, i in regions.items()}


def dense_decision(added: Mapping[str, int], geometry: Geometry) -> Decision:
    """Return the decision that states how much dense lung was added to each region."""
    unit, size = ("ml", geometry.voxel_volume) if geometry.spacing_known else ("voxels", 1.0)
    sizes = ", ".join(f"{region} {voxels * size:.0f} {unit}" for region, voxels in added.items())
    return Decision("dense lung", "included", f"as requested; it adds {sizes}")


def _thick_parts(extra: BoolArray) -> BoolArray:
    """Return the voxels near those whose square neighbourhood in the slice is full."""
    width = max(1, round(RIM * extra.shape[2]))
    core = ~_grow(~extra, width)
    return _grow(core, 2 * width) & extra


def _grow(mask: BoolArray, width: int) -> BoolArray:
    """Dilate the slices of a mask by a square of ``2 * width + 1`` pixels."""
    for axis in (1, 2):
        grown = mask.copy()
        for shift in range(1, width + 1):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = grown
    return mask
