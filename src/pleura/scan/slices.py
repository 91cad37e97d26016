"""Pictures and arrays as scans: they carry no orientation, so one is assumed and said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import PleuraError, ScanError, first_line
from pleura.scan.channels import equal_channels
from pleura.scan.geometry import ENDS, Geometry, affine_from_axes
from pleura.scan.listing import check_path
from pleura.scan.pictures import TIFF, list_pictures, read_picture
from pleura.scan.raw import check_shape
from pleura.scan.scan import Decision, ReadOnce, Scan, Values
from pleura.scan.tiff import count_tiff_slices, read_tiff_stack

_ORDER = "columns to the patient's left, rows to the back, slices to the head"


def read_slices(path: Path, name: str, *, labels: bool = False) -> Scan:
    """Read a picture as one slice, or a TIFF of several pages or a 3-D array as a volume.

    A palette is refused unless the picture holds ``labels``.

    Raises
    ------
    ScanError, DataError
        The file is truncated or corrupt, in colour, or stored turned.
    """
    check_path(path)
    kind = "TIFF" if path.suffix.lower() in TIFF else path.suffix[1:].upper()
    kind = {"JPG": "JPEG", "NPY": "array"}.get(kind, kind)
    if kind == "TIFF" and _tiff_slices(path) > 1:
        return assumed(name, _read_stack(path), kind, path, None)
    picture = read_picture(path, labels=labels)
    if kind == "array" and picture.ndim == 3:
        check_shape(picture.shape, path, picture.dtype)
        return assumed(name, picture, kind, path, None)
    return assumed(name, _grey(picture, path, labels=labels)[None], kind, path, None)


def _tiff_slices(path: Path) -> int:
    try:
        return count_tiff_slices(path)
    # tifffile lets errors of struct and its own through for a damaged file.
    except Exception:  # noqa: BLE001
        return 1  # read_picture says what is wrong


def _read_stack(path: Path) -> Values:
    try:
        volume = read_tiff_stack(path)
    except PleuraError:
        raise
    except Exception as error:
        raise ScanError(
            f"the TIFF stack cannot be read ({first_line(error)})",
            where=path,
            fix="copy or export it again",
        ) from error
    if volume.ndim == 4:
        volume = _grey(volume.reshape(-1, *volume.shape[2:]), path).reshape(volume.shape[:3])
    check_shape(volume.shape, path, volume.dtype)
    return volume


def _grey(picture: NDArray[Any], path: Path, *, labels: bool = False) -> NDArray[Any]:
    if picture.dtype.kind == "b":
        picture = picture.astype(np.uint8)
    grey = equal_channels(picture)
    if grey is None:
        wanted, fix = "CT values", "export the CT values themselves (16-bit TIFF or DICOM)"
        if labels:
            wanted, fix = (
                "labels",
                "save the mask in grey: 1 right and 2 left lung, or 255 for both",
            )
        raise ScanError(
            f"a colour picture with {picture.shape[2]} channels, not {wanted}", where=path, fix=fix
        )
    return grey


def read_stack_of_slices(folder: Path) -> Scan:
    """Read a folder of pictures as one volume, in counting order of names from foot to head.

    Raises
    ------
    ScanError, DataError
        A picture cannot be read, or they differ in size.
    """
    paths = sorted(list_pictures(folder), key=_in_counting_order)
    slices = [_grey(read_picture(path), path) for path in paths]
    sizes = {image.shape for image in slices}
    if len(sizes) > 1:
        raise ScanError(
            f"pictures of {len(sizes)} sizes are no volume",
            where=folder,
            fix="leave out --stack to take each as a scan of its own",
        )
    suffix = paths[0].suffix.lower()
    kind = "TIFF" if suffix in TIFF else "PNG"
    scan = assumed(folder.name, np.stack(slices), kind, folder, None)
    order = Decision("slices", f"{paths[0].name} to {paths[-1].name}", "by name, foot to head")
    return replace(scan, decisions=(order, *scan.decisions))


def _in_counting_order(path: Path) -> list[tuple[int, str]]:
    """Sort slice_2 before slice_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def assumed(
    name: str, volume: Values, kind: str, source: Path | None, spacing: tuple[float, ...] | None
) -> Scan:
    """Return a scan of an array that carries no orientation: as a radiologist looks at it."""
    z, y, x = (1.0, 1.0, 1.0, *(spacing or ()))[-3:]
    geometry = Geometry(
        shape_of(volume),
        affine_from_axes((0, 0, 0), ((0, 0, z), (0, y, 0), (x, 0, 0))),
        spacing_known=spacing is not None,
        orientation_known=False,
    )
    # Single pictures follow the radiological convention; arrays and stacks come in any order.
    doubtful = kind == "array" or len(volume) > 1
    reason = "the input has no orientation; radiological convention, as seen from the feet"
    if doubtful:
        reason += "; right and left may be swapped"
    return Scan(
        name=name,
        geometry=geometry,
        read=ReadOnce(lambda: volume),
        format=kind,
        source=source,
        decisions=(Decision("orientation", _ORDER, reason, warning=doubtful),),
    )


def oriented(scan: Scan, orientation: str) -> Scan:
    """Return a scan without an orientation in the one that is stated, such as ``SPL``.

    Raises
    ------
    ScanError
        The letters do not name three different axes.
    """
    letters = orientation.upper()
    axes = [next((i for i, ends in enumerate(ENDS) if one in ends), -1) for one in letters]
    if sorted(axes) != [0, 1, 2]:
        raise ScanError(
            f"'{orientation}' is not an orientation",
            where=scan.name,
            fix="give three letters for slices, rows and columns, such as SPL: R or L, A or P, "
            "I or S",
        )
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, letter) in enumerate(zip(axes, letters, strict=True)):
        affine[axis, i] = scan.geometry.spacing[i] * (1 if ENDS[axis][1] == letter else -1)
    geometry = replace(scan.geometry, affine=affine, orientation_known=True)
    return replace(
        scan, geometry=geometry, decisions=(Decision("orientation", letters, "as stated"),)
    )


def flipped(scan: Scan) -> Scan:
    """Return a scan whose columns run to the patient's right.

    Raises
    ------
    ScanError
        The file itself says which side is which.
    """
    geometry = scan.geometry
    if geometry.orientation_known:
        raise ScanError(
            "the file says itself which side is which: it cannot be flipped",
            where=scan.source,
            fix="leave out --flip",
        )
    mirror = np.eye(4)
    mirror[2, 2], mirror[2, 3] = -1, geometry.shape[2] - 1
    mirrored = replace(geometry, affine=geometry.affine @ mirror)
    decision = Decision("orientation", "columns to the patient's right", "as told: flipped")
    kept = tuple(d for d in scan.decisions if d.about != "orientation")
    return replace(scan, geometry=mirrored, decisions=(*kept, decision))


def shape_of(volume: Values) -> tuple[int, int, int]:
    """Return (slices, rows, columns)."""
    slices, rows, columns = volume.shape
    return slices, rows, columns
