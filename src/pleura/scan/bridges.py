"""Conversion to images of SimpleITK, nibabel and highdicom, which are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pleura.errors import ScanError
from pleura.scan.geometry import LPS_FROM_RAS, Geometry
from pleura.typing import AnyArray

if TYPE_CHECKING:
    from highdicom import Volume
    from nibabel import Nifti1Image
    from SimpleITK import Image


def to_simpleitk(array: AnyArray, geometry: Geometry) -> Image:
    """Return an array (slices, rows, columns) on a grid as a 3-D SimpleITK image.

    Raises
    ------
    ScanError
        The grid is sheared, which an ITK image cannot represent.
    """
    import SimpleITK

    _require_orthogonal(geometry, "a SimpleITK image")
    orthogonal = geometry.orthogonalized()
    image: Image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing[::-1])  # type: ignore[no-untyped-call]
    image.SetDirection(orthogonal.directions[:, ::-1].ravel().tolist())  # type: ignore[no-untyped-call]
    image.SetOrigin(geometry.affine[:3, 3].tolist())  # type: ignore[no-untyped-call]
    return image


def to_nibabel(array: AnyArray, geometry: Geometry) -> Nifti1Image:
    """Return an array (slices, rows, columns) on a grid as a nibabel ``Nifti1Image``."""
    import nibabel

    affine = LPS_FROM_RAS @ geometry.affine[:, [2, 1, 0, 3]]
    image: Nifti1Image = nibabel.Nifti1Image(array.T, affine, dtype=array.dtype)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    return image


def to_highdicom(array: AnyArray, geometry: Geometry, frame_of_reference_uid: str = "") -> Volume:
    """Return an array (slices, rows, columns) on a grid as a highdicom ``Volume``.

    Raises
    ------
    ScanError
        The grid is sheared, which a highdicom volume cannot represent.
    """
    import highdicom

    _require_orthogonal(geometry, "a highdicom Volume")
    return highdicom.Volume(
        np.ascontiguousarray(array),
        geometry.affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame_of_reference_uid or None,
    )


def _require_orthogonal(geometry: Geometry, target: str) -> None:
    if geometry.is_sheared:
        raise ScanError(
            f"{target} cannot represent axes sheared by {geometry.skew:.3g} degrees",
            where=None,
            hint="use to_nibabel, or write .nrrd or .mha",
        )
