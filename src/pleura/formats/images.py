"""Scans from objects in memory: arrays, and images of SimpleITK, nibabel and highdicom.

The three libraries are not imported here: if an object is of one, that library is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pleura.errors import ScanError
from pleura.formats.raw import check_shape
from pleura.intensity.window import Units, units_or_window
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.orientation import assume_orientation, set_orientation, shape_of
from pleura.scan.origin import IN_MEMORY
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.scan.units import with_units
from pleura.typing import AnyArray


def from_array(
    values: ArrayLike,
    spacing: Sequence[float] | None = None,
    affine: ArrayLike | None = None,
    *,
    orientation: str | None = None,
    name: str = "array",
    units: Units = "auto",
    window: tuple[float, float] | None = None,
) -> Scan:
    """Make a scan of an array (rows, columns) or (slices, rows, columns).

    An array has no orientation. Without ``affine`` and ``orientation``, axial slices from foot to
    head are assumed, with rows to the back and columns to the patient's left (``SPL``), and the
    scan has a warning.

    Parameters
    ----------
    values:
        The voxels, of any real dtype.
    spacing:
        Millimetres between voxels, one number per axis, in the order of the axes.
    affine:
        (4, 4); maps (slice, row, column, 1) to LPS millimetres. It replaces ``spacing`` and
        ``orientation``.
    orientation:
        The direction in which the index of slices, rows and columns grows, three letters: R or L,
        A or P, I or S. ``SPL`` for most DICOM series, ``SAR`` for the array that
        ``SimpleITK.GetArrayFromImage`` returns of an image in RAS order.
    name:
        Name of the scan in results.
    units, window:
        As for `read`.

    Returns
    -------
    Scan

    Raises
    ------
    ScanError
        The array is not a 2-D or 3-D array of numbers, a spacing is not above 0, the orientation
        does not name three axes, the grid is impossible, or the window is invalid.
    """
    scan = _scan_of_array(values, spacing, affine, orientation, name)
    return with_units(scan, units_or_window(units, window))


def is_image(source: Any) -> bool:
    """Return whether an object is an array or an image of SimpleITK, nibabel or highdicom."""
    return (
        isinstance(source, np.ndarray)
        or _is_a(source, "SimpleITK", "Image")
        or _is_a(source, "nibabel", "spatialimages.SpatialImage")
        or _is_a(source, "highdicom", "Volume")
    )


def read_image(image: Any, name: str = "image") -> Scan:
    """Make a scan of an object for which `is_image` is true, with its geometry.

    Raises
    ------
    ScanError
        The image is not one 2-D or 3-D volume of real numbers in the patient, or its grid is
        impossible.
    """
    if isinstance(image, np.ndarray):
        return _scan_of_array(image, name="array")
    if _is_a(image, "nibabel", "spatialimages.SpatialImage"):
        from pleura.formats.nifti import read_nibabel

        return read_nibabel(image, name)
    if _is_a(image, "highdicom", "Volume"):
        return _scan_of_highdicom(image, name)
    return _scan_of_simpleitk(image, name)


def _scan_of_array(
    values: ArrayLike,
    spacing: Sequence[float] | None = None,
    affine: ArrayLike | None = None,
    orientation: str | None = None,
    name: str = "array",
) -> Scan:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ScanError(
            f"the values are not an array ({error})",
            where=name,
            hint="pass numbers in rows of equal length",
        ) from error
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise ScanError(
            f"a {array.dtype} array of shape {array.shape} is not a scan",
            where=name,
            hint="pass numbers of shape (rows, columns) or (slices, rows, columns)",
        )
    volume = array.reshape(check_shape(array.shape, name))
    if affine is not None:
        if spacing is not None or orientation is not None:
            raise ScanError(
                "affine and spacing or orientation exclude each other",
                where=name,
                hint="pass only the affine, which contains spacing and orientation",
            )
        geometry = Geometry(shape_of(volume), np.asarray(affine, np.float64))
        return Scan(name, geometry, ReadOnce(lambda: volume))
    checked = None if spacing is None else _checked_spacing(spacing, array.ndim, name)
    scan = assume_orientation(name, volume, IN_MEMORY, checked)
    return scan if orientation is None else set_orientation(scan, orientation)


def _checked_spacing(spacing: Sequence[float], axes: int, name: str) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in spacing)
    except (TypeError, ValueError):
        values = ()
    if len(values) != axes or not all(0 < value < np.inf for value in values):
        raise ScanError(
            f"a spacing of {spacing} is invalid for an array of {axes} axes",
            where=name,
            hint="pass one number above 0 per axis, in mm; for a reversed axis pass an orientation",
        )
    return values


def _scan_of_highdicom(volume: Any, name: str) -> Scan:
    if volume.array.ndim != 3 or volume.array.dtype.kind not in "iuf":
        raise ScanError(
            f"a highdicom volume of {volume.array.dtype} and shape {volume.array.shape} is not a "
            "CT",
            where=name,
            hint="pass a volume with one real number per voxel",
        )
    if volume.coordinate_system.value != "PATIENT":
        raise ScanError(
            "a highdicom volume in slide coordinates is not a CT",
            where=name,
            hint="pass a volume in patient coordinates",
        )
    array = np.array(volume.array)  # a copy: the caller may change the volume
    geometry = Geometry(check_shape(array.shape, name), np.asarray(volume.affine, np.float64))
    return Scan(name, geometry, ReadOnce(lambda: array))


def _scan_of_simpleitk(image: Any, name: str) -> Scan:
    shape = check_shape(tuple(int(n) for n in image.GetSize()[::-1]), name)
    array = _array_of_simpleitk(image, name).reshape(shape)
    geometry = _geometry_of_simpleitk(image, shape)
    return Scan(name, geometry, ReadOnce(lambda: array), decisions=_orientation_warning(image))


def _array_of_simpleitk(image: Any, name: str) -> AnyArray:
    """Return a copy of the voxels: a view would change with the image of the caller."""
    try:
        array: AnyArray = sys.modules["SimpleITK"].GetArrayFromImage(image)
    except (RuntimeError, KeyError):  # raised for pixel types without a NumPy dtype
        array = np.empty(0, np.void)
    if image.GetNumberOfComponentsPerPixel() != 1 or array.dtype.kind not in "iuf":
        raise ScanError(
            f"an image of {image.GetPixelIDTypeAsString()} is not a CT",
            where=name,
            hint="pass an image with one real number per voxel",
        )
    return array


def _geometry_of_simpleitk(image: Any, shape: tuple[int, int, int]) -> Geometry:
    n = min(image.GetDimension(), 3)
    steps = np.eye(3)  # columns: the step along x, y and z of the image, in LPS mm
    directions = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    steps[:n, :n] = directions[:n, :n] * image.GetSpacing()[:n]
    origin = np.zeros(3)
    origin[:n] = image.GetOrigin()[:n]
    return Geometry(shape, affine_from_axes(origin, (steps[:, 2], steps[:, 1], steps[:, 0])))


def _orientation_warning(image: Any) -> tuple[Decision, ...]:
    n = image.GetDimension()
    if n < 3:
        choice = "as an axial slice; right and left may be swapped"
        reason = "a 2-D image has no orientation in the patient"
        return (Decision("orientation", choice, reason, warning=True),)
    default = (*np.eye(n).ravel(), *(1.0,) * n, *(0.0,) * n)
    if (*image.GetDirection(), *image.GetSpacing(), *image.GetOrigin()) != default:
        return ()
    reason = "spacing 1 mm, origin 0 and identity direction are the defaults of SimpleITK"
    choice = "that of the image, which may not be set; right and left may be swapped"
    return (Decision("orientation", choice, reason, warning=True),)


def _is_a(source: Any, package: str, path: str) -> bool:
    """Return whether an object is of a class of a package, if that package is imported."""
    attribute: Any = sys.modules.get(package)
    for part in path.split("."):
        attribute = getattr(attribute, part, None)
    return isinstance(attribute, type) and isinstance(source, attribute)
