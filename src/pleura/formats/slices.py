"""Pictures and arrays as scans: they carry no orientation, so one is assumed and said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import PleuraError, ScanError, first_line
from pleura.files.listing import check_path
from pleura.formats.channels import equal_channels
from pleura.formats.pictures import TIFF, list_pictures, read_picture
from pleura.formats.raw import check_shape
from pleura.formats.tiff import count_tiff_slices, read_tiff_stack
from pleura.scan.orientation import assumed
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray


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


def _read_stack(path: Path) -> AnyArray:
    try:
        volume = read_tiff_stack(path)
    except PleuraError:
        raise
    except Exception as error:
        raise ScanError(
            f"the TIFF stack cannot be read ({first_line(error)})",
            where=path,
            hint="copy or export it again",
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
        wanted, hint = "CT values", "export the CT values themselves (16-bit TIFF or DICOM)"
        if labels:
            wanted, hint = (
                "labels",
                "save the mask in grey: 1 right and 2 left lung, or 255 for both",
            )
        raise ScanError(
            f"a colour picture with {picture.shape[2]} channels, not {wanted}",
            where=path,
            hint=hint,
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
            hint="leave out --stack to take each as a scan of its own",
        )
    suffix = paths[0].suffix.lower()
    kind = "TIFF" if suffix in TIFF else "PNG"
    scan = assumed(folder.name, np.stack(slices), kind, folder, None)
    origin = replace(scan.origin, files=tuple(paths))
    order = Decision("slices", f"{paths[0].name} to {paths[-1].name}", "by name, foot to head")
    return replace(scan, origin=origin, decisions=(order, *scan.decisions))


def _in_counting_order(path: Path) -> list[tuple[int, str]]:
    """Sort slice_2 before slice_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
