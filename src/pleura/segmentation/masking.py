"""Scans with all voxels outside the lungs removed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pleura.masks.mask import Mask
from pleura.scan.orientation import shape_of
from pleura.scan.scan import BACKGROUND_HU, ReadOnce, Scan
from pleura.segmentation.components import bounding_box


def masked_scan(mask: Mask, *, crop: bool = False) -> Scan:
    """Return the scan of a mask in HU, with -1024 HU outside the lungs.

    Parameters
    ----------
    mask:
        The mask; its scan is read again.
    crop:
        Crop to the bounding box of the lungs. An empty mask is not cropped.

    Raises
    ------
    ScanError
        The voxels of the scan cannot be read.
    """
    inside = mask.labels > 0
    hu = np.where(inside, mask.scan.hu(), np.int16(BACKGROUND_HU))
    geometry = mask.geometry
    box = bounding_box(inside) if crop else None
    if box is not None:
        hu = np.ascontiguousarray(hu[box])
        affine = geometry.affine.copy()
        affine[:3, 3] = geometry.index_to_world([side.start for side in box])
        geometry = replace(geometry, shape=shape_of(hu), affine=affine)
    return Scan(mask.scan.name, geometry, ReadOnce(lambda: hu))
