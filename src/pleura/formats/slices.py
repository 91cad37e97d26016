"""Slices and stacks without geometry: TIFF, PNG, JPEG and NumPy files as scans."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from pleura.errors import DataError, PleuraError, ScanError, first_line
from pleura.files.atomic import write_atomically
from pleura.files.listing import check_path
from pleura.formats.channels import equal_channels
from pleura.formats.format import VOXEL_TYPES, check_voxel_type
from pleura.formats.pictures import (
    JPEG_SUFFIXES,
    NUMPY_SUFFIXES,
    PNG_SUFFIXES,
    TIFF_SUFFIXES,
    list_pictures,
    read_picture,
    write_picture,
)
from pleura.formats.raw import check_shape
from pleura.formats.tiff import count_tiff_slices, read_tiff_stack
from pleura.scan.labels import LabelMap
from pleura.scan.orientation import assume_orientation
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray


@dataclass(frozen=True)
class PictureFormat:
    """A format of slices or stacks of slices that states no geometry.

    Parameters
    ----------
    name, suffixes, output_suffixes:
        See `Format`.
    stacks:
        Whether a file can hold several slices.
    voxel_types:
        dtypes that are written.
    """

    name: FormatName
    suffixes: tuple[str, ...]
    output_suffixes: tuple[str, ...]
    stacks: bool = True
    voxel_types: tuple[str, ...] = VOXEL_TYPES
    stores_geometry: bool = False

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read one slice, or a TIFF of several pages or a 3-D array as a volume.

        A palette is refused unless the file holds ``labels``.

        Raises
        ------
        ScanError, DataError
            The file is truncated or corrupt, in colour, or stored rotated or mirrored.
        """
        check_path(path)
        origin = Origin(format=self.name, path=path, files=(path,))
        if path.suffix.lower() in TIFF_SUFFIXES and _count_slices(path) > 1:
            return assume_orientation(name, _read_stack(path), origin)
        picture = read_picture(path, labels=labels)
        if path.suffix.lower() in NUMPY_SUFFIXES and picture.ndim == 3:
            check_shape(picture.shape, path, picture.dtype)
            return assume_orientation(name, picture, origin)
        return assume_orientation(name, _grey(picture, path, labels=labels)[None], origin)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that a file can hold the number of slices and the dtype."""
        slices = scan.geometry.shape[0]
        if slices > 1 and not self.stacks:
            raise DataError(
                f"a {self.name} file holds one slice, and the scan has {slices}",
                where=path,
                hint="write .nii.gz, or .tif for a stack",
            )
        check_voxel_type(path, self.name, dtype, self.voxel_types)
        return ()

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write the voxels alone, in the order of slices, rows and columns of the scan."""
        array = image.values()
        if len(array) == 1:
            write_picture(path, array[0])
        elif path.suffix.lower() in TIFF_SUFFIXES:
            write_atomically(
                path,
                lambda file: tifffile.imwrite(
                    file, array, photometric="minisblack", compression="zlib"
                ),
            )
        else:
            write_picture(path, array)


TIFF = PictureFormat("TIFF", TIFF_SUFFIXES, TIFF_SUFFIXES)
PNG = PictureFormat("PNG", PNG_SUFFIXES, PNG_SUFFIXES, stacks=False, voxel_types=("u1", "u2"))
JPEG = PictureFormat("JPEG", JPEG_SUFFIXES, ())
NUMPY = PictureFormat("array", NUMPY_SUFFIXES, NUMPY_SUFFIXES)


def _count_slices(path: Path) -> int:
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


def read_picture_stack(folder: Path) -> Scan:
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
    stack_format = TIFF if paths[0].suffix.lower() in TIFF_SUFFIXES else PNG
    origin = Origin(format=stack_format.name, path=folder, files=tuple(paths))
    scan = assume_orientation(folder.name, np.stack(slices), origin)
    order = Decision("slices", f"{paths[0].name} to {paths[-1].name}", "by name, foot to head")
    return replace(scan, decisions=(order, *scan.decisions))


def _in_counting_order(path: Path) -> list[tuple[int, str]]:
    """Sort slice_2 before slice_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
