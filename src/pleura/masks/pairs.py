"""Reading two masks of one scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from pleura.errors import DataError
from pleura.files.limits import check_claimed_size
from pleura.formats.read import read
from pleura.formats.read_segments import read_segments
from pleura.formats.segments import SegmentFile, enclosing_grid
from pleura.masks.classes import draw_classes, read_classes
from pleura.masks.labels import read_label_file
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection
from pleura.masks.structures import draw_structures
from pleura.scan.geometry import Geometry
from pleura.scan.labels import Label
from pleura.scan.origin import IN_MEMORY


def read_mask_pair(
    first: Path,
    second: Path,
    *,
    image: Path | None = None,
    roi: RoiSelection | None = None,
    classes: tuple[Label, ...] = (),
) -> tuple[Mask, Mask]:
    """Read two masks of one scan.

    Structures of DICOM and .seg.nrrd files are drawn on the grid of the scan; without it, on that
    of the other mask if it is a file of labels, or else on one that contains both.

    Parameters
    ----------
    first, second:
        The masks.
    image:
        The scan; None if it is not available.
    roi:
        As for `read_mask`. Names and codes apply to a file that has some; the labels of the other
        one are recognised.
    classes:
        The classes of the masks, see `read_classes`; empty for lungs.

    Raises
    ------
    ScanError, DataError
        As `read_mask`; or contours are to be drawn, and there is no grid.
    """
    files = read_segments(first), read_segments(second)
    named = isinstance(roi, Mapping) and not all(name.isdecimal() for name in roi)
    values = None if named and files != (None, None) else roi
    stored = [
        read_classes(path, classes)
        if classes
        else read_label_file(path, roi=values, unknown_as_lung=True)
        for path, file in zip((first, second), files, strict=True)
        if file is None
    ]
    if len(stored) == 2:
        return stored[0], stored[1]
    origin = IN_MEMORY
    if image is not None:
        scan = read(image, units="hu")
        geometry, origin = scan.geometry, scan.origin
    elif stored:
        geometry = stored[0].geometry
    else:
        geometry = _common_grid([file for file in files if file is not None])
    masks = [
        stored[0]
        if file is None
        else draw_classes(file, classes, geometry, origin)
        if classes
        else draw_structures(file, geometry, origin, roi)
        for file in files
    ]
    return masks[0], masks[1]


def _common_grid(files: list[SegmentFile]) -> Geometry:
    """Return a grid that contains those of two files."""
    grids = [file.geometry for file in files if file.geometry is not None]
    if len(grids) < len(files):
        kind, path = next((f.kind, f.origin.path) for f in files if f.geometry is None)
        raise DataError(
            f"the {kind} defines no grid",
            where=path,
            hint="pass the scan, or the folder of the scans: --images PATH",
        )
    grid = enclosing_grid(*grids)
    if grid is None:
        raise DataError(
            f"the two masks have different grids: {grids[0].describe_difference(grids[1])}",
            where=files[0].origin.path,
            hint="pass the scan, or the folder of the scans: --images PATH",
        )
    check_claimed_size(math.prod(grid.shape), None, files[0].origin.path or files[0].kind)
    return grid
