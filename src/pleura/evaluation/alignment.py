"""Bring a scan and its masks, stored in any orientation, to one order of voxels."""

from __future__ import annotations

from dataclasses import dataclass

from pleura.errors import DataError
from pleura.scan.geometry import Reorientation
from pleura.scan.labels import LabelMap
from pleura.scan.scan import Scan


def canonical_orders(*scans: Scan | LabelMap) -> list[Reorientation]:
    """Return the reorientation of each scan or mask to canonical axial slices.

    A file without a known orientation is assumed to be stored as the first one with a known
    orientation, as a TIFF file that was written from a NIfTI file is.
    """
    known = [s.geometry.to_canonical() for s in scans if s.geometry.orientation_known]
    return [
        known[0] if known and not s.geometry.orientation_known else s.geometry.to_canonical()
        for s in scans
    ]


@dataclass(frozen=True)
class Alignment:
    """Two files on one grid.

    Parameters
    ----------
    first, second:
        Reorientation of each file's arrays to canonical axial slices.
    spacing:
        Distance in mm between voxel centres along slices, rows and columns; None if unknown.
    """

    first: Reorientation
    second: Reorientation
    spacing: tuple[float, float, float] | None


def align(first: Scan | LabelMap, second: Scan | LabelMap, kinds: str, hint: str) -> Alignment:
    """Return how two files on one grid are brought to the same order of voxels.

    Parameters
    ----------
    first, second:
        The files; the spacing of the second has priority.
    kinds, hint:
        What the two are, such as "the two masks", and the hint, for the error.

    Raises
    ------
    DataError
        The files have different grids.
    """
    orders = canonical_orders(first, second)
    grids = orders[0].apply_to(first.geometry), orders[1].apply_to(second.geometry)
    if not grids[0].matches(grids[1]):
        raise DataError(
            f"{kinds} have different grids: {grids[0].describe_difference(grids[1])}",
            where=first.source,
            hint=hint,
        )
    spacing = next(
        (grid.orthogonal_spacing for grid in reversed(grids) if grid.spacing_known), None
    )
    return Alignment(orders[0], orders[1], spacing)
