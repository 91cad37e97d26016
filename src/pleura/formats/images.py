"""Images of SimpleITK and nibabel as scans, with their geometry; neither is imported here."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.raw import check_shape
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.scan import Decision, ReadOnce, Scan


def is_image(what: Any) -> bool:
    """Return whether an object is an image of SimpleITK or nibabel."""
    return _is_a(what, "SimpleITK", "Image") or _is_a(what, "nibabel", "spatialimages.SpatialImage")


def read_image(image: Any, name: str = "image") -> Scan:
    """Make a scan of a SimpleITK image or a nibabel image, with spacing, origin and direction.

    Raises
    ------
    ScanError
        The image is not one 2-D or 3-D volume of numbers, or its grid is impossible.
    """
    if not _is_a(image, "SimpleITK", "Image"):
        from pleura.formats.nifti import read_nibabel

        return read_nibabel(image, name)
    shape = check_shape(tuple(int(n) for n in image.GetSize()[::-1]), name)
    array = _array(image, name).reshape(shape)
    return Scan(name, _geometry(image, shape), ReadOnce(lambda: array), decisions=_doubts(image))


def _array(image: Any, name: str) -> NDArray[Any]:
    """Return a copy of the voxels: a view would change with the caller's image."""
    try:
        array: NDArray[Any] = sys.modules["SimpleITK"].GetArrayFromImage(image)
    except (RuntimeError, KeyError):  # of pixel types that have no array
        array = np.empty(0, np.void)
    if image.GetNumberOfComponentsPerPixel() != 1 or array.dtype.kind not in "iuf":
        raise ScanError(
            f"an image of {image.GetPixelIDTypeAsString()} is not a CT",
            where=name,
            hint="give an image with one real number per voxel",
        )
    return array


def _geometry(image: Any, shape: tuple[int, int, int]) -> Geometry:
    n = min(image.GetDimension(), 3)
    steps = np.eye(3)  # columns: the step along x, y and z of the image, in LPS mm
    directions = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    steps[:n, :n] = directions[:n, :n] * image.GetSpacing()[:n]
    origin = np.zeros(3)
    origin[:n] = image.GetOrigin()[:n]
    return Geometry(shape, affine_from_axes(origin, (steps[:, 2], steps[:, 1], steps[:, 0])))


def _doubts(image: Any) -> tuple[Decision, ...]:
    n = image.GetDimension()
    if n < 3:
        choice = "as an axial slice; right and left may be swapped"
        reason = "a 2-D image does not tell how its axes lie in the patient"
        return (Decision("orientation", choice, reason, warning=True),)
    unset = (*np.eye(n).ravel(), *(1.0,) * n, *(0.0,) * n)
    if (*image.GetDirection(), *image.GetSpacing(), *image.GetOrigin()) != unset:
        return ()
    reason = "spacing 1 mm, origin 0 and identity direction are the defaults of SimpleITK"
    choice = "as the image has it, perhaps never set; right and left may be swapped"
    return (Decision("orientation", choice, reason, warning=True),)


def _is_a(what: Any, package: str, path: str) -> bool:
    """Return whether an object is of a class of a package, if that package was imported."""
    found: Any = sys.modules.get(package)
    for part in path.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(what, found)
