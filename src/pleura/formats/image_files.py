"""Reading and writing of slices in TIFF, PNG, JPEG and NumPy files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.errors import DataError, ScanError
from pleura.files.atomic import write_atomically
from pleura.files.listing import describe_wrong_path
from pleura.formats.image_format import ImageFormat, scan_of_images, to_grey
from pleura.formats.jpeg import JPEG
from pleura.formats.npy import NUMPY
from pleura.formats.png import PNG
from pleura.formats.tiff import TIFF
from pleura.names import counted
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

IMAGE_FORMATS: tuple[ImageFormat, ...] = (TIFF, PNG, JPEG, NUMPY)
"""Formats of slices and stacks without geometry."""

IMAGE_SUFFIXES = tuple(suffix for item in IMAGE_FORMATS for suffix in item.suffixes)
IMAGE_OUTPUT_SUFFIXES = tuple(s for item in IMAGE_FORMATS for s in item.output_suffixes)


def list_image_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images directly in a folder, sorted by name, without hidden files.

    Parameters
    ----------
    folder:
        The folder.
    suffixes:
        Suffixes of the files to return.

    Raises
    ------
    DataError
        The folder cannot be read, contains no image, or contains broken links.
    """
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"the folder cannot be read ({error.strerror})"
            if folder.is_dir()
            else describe_wrong_path(folder, "folder"),
            where=folder,
            hint="check the spelling and the permissions of the path",
        ) from error
    named = [p for p in visible if p.name.lower().endswith(suffixes)]
    images = [p for p in named if p.is_file()]
    if broken := [p for p in named if p.is_symlink() and not p.exists()]:
        raise DataError(
            f"{counted(len(broken), 'link is', 'links are')} broken: the targets are missing",
            where=broken[0],
            hint="restore the targets (git annex get or dvc pull), or remove the links",
        )
    for path in images:
        if not path.name.isprintable():
            raise DataError(
                f"the file name {path.name!r} contains characters that are not printable",
                where=folder,
                hint="rename the file",
            )
    if not images:
        raise DataError(
            "the folder contains no images",
            where=folder,
            hint=f"pass a folder with files that end in {', '.join(suffixes)}",
        )
    return images


def read_image_file(path: Path, *, labels: bool = False) -> AnyArray:
    """Read an image with dtype and channels unchanged: (rows, columns) or (rows, columns, n).

    A palette is replaced by its colours; with ``labels``, by the labels that it stands for
    (`pleura.formats.channels.palette_labels`).

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt or not a single image, or its claimed size
        exceeds the capacity of the file or the memory limit.
    """
    return _image_format(path).read_image_file(path, labels=labels)


def write_image_file(path: Path, image: AnyArray) -> None:
    """Write a (rows, columns) image losslessly and atomically; the suffix selects the format.

    Raises
    ------
    DataError
        The format or the dtype cannot be written without loss, or the file cannot be written.
    """
    image_format = next((f for f in IMAGE_FORMATS if _has_suffix(path, f.output_suffixes)), None)
    if image_format is None or image.dtype not in map(np.dtype, image_format.voxel_types):
        suffix = path.suffix.lower() or "a file without suffix"
        raise DataError(
            f"values of type {image.dtype} cannot be stored losslessly as {suffix}",
            where=path,
            hint="choose a name that ends in .tif or .npy",
        )
    write_atomically(path, lambda file: image_format.encode(file, image))


def read_image_stack(folder: Path) -> Scan:
    """Read a folder of images as one volume: sorted by the numbers in names, from foot to head.

    Raises
    ------
    ScanError, DataError
        An image cannot be read, or the images differ in format or size.
    """
    paths = sorted(list_image_files(folder), key=_numeric_order)
    formats = list(dict.fromkeys(map(_image_format, paths)))
    if len(formats) > 1:
        raise ScanError(
            f"the images have {len(formats)} formats, so they are not one volume: "
            f"{' and '.join(f.name for f in formats)}",
            where=folder,
            hint="keep only images of one format in the folder",
        )
    slices = [to_grey(read_image_file(path), path) for path in paths]
    sizes = {image.shape for image in slices}
    if len(sizes) > 1:
        raise ScanError(
            f"the images have {len(sizes)} different sizes, so they are not one volume",
            where=folder,
            hint="omit --stack to read each image as a separate scan",
        )
    scan = scan_of_images(folder.name, np.stack(slices), folder, tuple(paths), formats[0])
    order = Decision("slices", f"{paths[0].name} to {paths[-1].name}", "by name, foot to head")
    return replace(scan, decisions=(order, *scan.decisions))


def _image_format(path: Path) -> ImageFormat:
    for candidate in IMAGE_FORMATS:
        if _has_suffix(path, candidate.suffixes):
            return candidate
    raise DataError(
        f"'{path.suffix}' is not a supported image format",
        where=path,
        hint=f"convert it to one of {', '.join(IMAGE_SUFFIXES)}",
    )


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _numeric_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts slice_2 before slice_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
