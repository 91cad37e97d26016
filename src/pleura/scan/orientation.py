"""Orientation of arrays and images without one: assumed, requested or flipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pleura.errors import ScanError
from pleura.scan.geometry import AXIS_ENDS, Geometry, affine_from_axes
from pleura.scan.origin import Origin
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.typing import AnyArray

_ORDER = "columns to the patient's left, rows to the back, slices to the head"


def assume_orientation(
    name: str, volume: AnyArray, origin: Origin, spacing: Sequence[float] | None = None
) -> Scan:
    """Return a scan of an array, and assume axial slices in the radiological convention.

    Parameters
    ----------
    name, origin:
        See `Scan`.
    volume:
        The voxels (slices, rows, columns).
    spacing:
        Millimetres per voxel of the last axes of the array; None if unknown.
    """
    z, y, x = (1.0, 1.0, 1.0, *(spacing or ()))[-3:]
    geometry = Geometry(
        shape_of(volume),
        affine_from_axes((0, 0, 0), ((0, 0, z), (0, y, 0), (x, 0, 0))),
        spacing_known=spacing is not None,
        orientation_known=False,
    )
    # Single images follow the radiological convention; arrays and stacks may not.
    doubtful = origin.format == "array" or len(volume) > 1
    reason = "the input has no orientation; the radiological convention is assumed"
    if doubtful:
        reason += "; right and left may be swapped"
    return Scan(
        name=name,
        geometry=geometry,
        read=ReadOnce(lambda: volume),
        origin=origin,
        decisions=(Decision("orientation", _ORDER, reason, warning=doubtful),),
    )


def set_orientation(scan: Scan, orientation: str) -> Scan:
    """Return a scan with a requested orientation, such as ``SPL``, in place of an assumed one.

    Raises
    ------
    ScanError
        The letters are not one of R or L, one of A or P, and one of I or S.
    """
    letters = orientation.upper()
    axes = [
        next((i for i, ends in enumerate(AXIS_ENDS) if letter in ends), -1) for letter in letters
    ]
    if sorted(axes) != [0, 1, 2]:
        raise ScanError(
            f"'{orientation}' is not an orientation",
            where=scan.name,
            hint="pass three letters for slices, rows and columns, such as SPL: R or L, A or P, "
            "I or S",
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, letter) in enumerate(zip(axes, letters, strict=True)):
        affine[axis, i] = scan.geometry.spacing[i] * (1 if AXIS_ENDS[axis][1] == letter else -1)
    geometry = replace(scan.geometry, affine=affine, orientation_known=True)
    return replace(
        scan, geometry=geometry, decisions=(Decision("orientation", letters, "as requested"),)
    )


def flip_left_right(scan: Scan) -> Scan:
    """Return a scan of assumed orientation, flipped: its columns run to the patient's right.

    Raises
    ------
    ScanError
        The orientation is defined by the file.
    """
    geometry = scan.geometry
    if geometry.orientation_known:
        raise ScanError(
            "the file defines its orientation; flipping is not allowed",
            where=scan.source,
            hint="omit --flip",
        )
    mirror = np.eye(4)
    mirror[2, 2], mirror[2, 3] = -1, geometry.shape[2] - 1
    mirrored = replace(geometry, affine=geometry.affine @ mirror)
    decision = Decision("orientation", "columns to the patient's right", "as requested: flipped")
    others = tuple(d for d in scan.decisions if d.topic != "orientation")
    return replace(scan, geometry=mirrored, decisions=(*others, decision))


def shape_of(volume: AnyArray) -> tuple[int, int, int]:
    """Return (slices, rows, columns)."""
    slices, rows, columns = volume.shape
    return slices, rows, columns
