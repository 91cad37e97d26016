"""Masks in: label files of any tool, held to the grid of their scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pleura.errors import DataError
from pleura.scan.io import read
from pleura.scan.scan import LEFT, RIGHT, Mask, Scan


def read_mask(path: str | Path, scan: Scan) -> Mask:
    """Read a mask of a scan: 1 right and 2 left lung, or one label of any value.

    Raises
    ------
    ScanError, DataError
        The file cannot be read, lies on another grid, or holds more labels.
    """
    path = Path(path)
    found = read(path, units="hu")
    if not found.geometry.fits(scan.geometry):
        raise DataError(
            f"the mask's grid is not the scan's: {found.geometry}, and {scan.geometry}",
            where=path,
            fix="give the mask that was drawn on this scan",
        )
    values = found.hu()
    usual = [label for label in (0, RIGHT, LEFT) if (values == label).any()]
    inside = values.min() >= 0 and values.max() <= LEFT  # no need to sort every voxel
    labels = usual if inside else np.unique(values)
    if set(labels) <= {0, RIGHT, LEFT}:
        return Mask(values.astype(np.uint8), scan, sides=LEFT in labels, algorithm=("", ""))
    if len(labels) > 2 or labels[0] != 0:
        raise DataError(
            f"the mask has {len(labels)} values, {labels[0]} to {labels[-1]}",
            where=path,
            fix="give labels: 0 outside, 1 right and 2 left lung, or one value for both",
        )
    return Mask((values > 0).astype(np.uint8), scan, sides=False, algorithm=("", ""))
