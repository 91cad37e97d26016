"""Masks of the structures of a DICOM SEG, an RT Structure Set or a .seg.nrrd file."""

from __future__ import annotations

import numpy as np

from pleura.errors import DataError
from pleura.formats.registry import scan_name
from pleura.formats.segments import SegmentFile
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection, Selection, select_segments
from pleura.masks.sides import SWAPPED, are_swapped
from pleura.names import counted
from pleura.scan.geometry import Geometry
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.scan.scan import Decision, ReadOnce, Scan


def draw_structures(
    file: SegmentFile,
    geometry: Geometry | None,
    origin: Origin = IN_MEMORY,
    roi: RoiSelection | None = None,
) -> Mask:
    """Draw structures on the grid of a scan, or else on that of the file.

    Where structures overlap, the last one has priority.

    Parameters
    ----------
    file:
        The file.
    geometry, origin:
        The grid of the scan and what it was read from; None if there is no scan.
    roi:
        As for `read_mask`.

    Returns
    -------
    Mask
        Without its scan.

    Raises
    ------
    ScanError, DataError
        The structures are missing, ambiguous or damaged; the file belongs to another scan; or it
        has no grid, and there is no scan.
    """
    selection = select_segments(file, roi)
    decisions = [_describe(selection), *_check_reference(file, origin)]
    grid = _grid(file, geometry)
    labels, overlap = np.zeros(grid.shape, np.uint8), 0
    for label, segments in selection.segments.items():
        inside, found = file.draw({segment.number for segment in segments}, grid)
        decisions += (decision for decision in found if decision not in decisions)
        overlap += int(np.count_nonzero(labels[inside]))
        labels[inside] = label
    if overlap:
        choice = f"{counted(overlap, 'voxel is', 'voxels are')} in several structures"
        reason = "the last structure has priority"
        decisions.append(Decision("mask", choice, reason, warning=roi is None))
    if selection.sides and are_swapped(labels, grid):
        decisions.append(Decision("labels", "right and left", SWAPPED, warning=True))
    path = file.origin.path
    name = scan_name(path) if path is not None else file.kind
    scan = Scan(name, grid, ReadOnce(lambda: labels), file.origin)
    return Mask(labels, scan, selection.sides, ("", ""), tuple(decisions), has_scan=False)


def _describe(selection: Selection) -> Decision:
    choice = ", ".join(
        f"{' and '.join(map(str, segments))} as label {label}"
        for label, segments in selection.segments.items()
    )
    return Decision("labels", choice, selection.reason, selection.warning)


def _grid(file: SegmentFile, geometry: Geometry | None) -> Geometry:
    if geometry is None:
        if file.geometry is None:
            raise DataError(
                f"the {file.kind} defines no grid",
                where=file.origin.path,
                hint="pass the scan that it was drawn on",
            )
        return file.geometry
    if not geometry.orientation_known:
        raise DataError(
            f"the {file.kind} is in patient coordinates, which the scan does not define",
            where=file.origin.path,
            hint="pass the scan in a format with orientation: DICOM, NIfTI, NRRD or MetaImage",
        )
    return geometry


def _check_reference(file: SegmentFile, origin: Origin) -> tuple[Decision, ...]:
    """Compare frame of reference and series with those of a DICOM scan."""
    frame, series = origin.frame_of_reference_uid, origin.series_instance_uid
    comparable = bool(frame and file.frame_of_reference_uid)
    other_series = bool(series and file.series_uids) and series not in file.series_uids
    if (comparable and frame != file.frame_of_reference_uid) or (other_series and not comparable):
        what = (
            "has another frame of reference than the scan"
            if comparable
            else ("was drawn on another series")
        )
        raise DataError(
            f"the {file.kind} {what}",
            where=file.origin.path,
            hint="pass the scan that it was drawn on",
        )
    if not other_series:
        return ()
    reason = "it has the same frame of reference as the scan"
    return (Decision("mask", "drawn on another series", reason, warning=True),)
