"""Reading and writing of slices in TIFF, PNG, JPEG and NumPy files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from pleura.errors import DataError, ScanError
from pleura.files.atomic import write_atomically
from pleura.formats.jpeg import JPEG
from pleura.formats.npy import NUMPY
from pleura.formats.picture_format import PictureFormat, scan_of_pictures, to_grey
from pleura.formats.png import PNG
from pleura.formats.tiff import TIFF
from pleura.names import counted
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

PICTURE_FORMATS: tuple[PictureFormat, ...] = (TIFF, PNG, JPEG, NUMPY)
"""Formats of slices and stacks without geometry."""

PICTURE_SUFFIXES = tuple(suffix for item in PICTURE_FORMATS for suffix in item.suffixes)
PICTURE_OUTPUT_SUFFIXES = tuple(s for item in PICTURE_FORMATS for s in item.output_suffixes)


def list_pictures(folder: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[Path]:
    """Return the pictures directly in a folder, sorted by name, without hidden files.

    Parameters
    ----------
    folder:
        The folder.
    suffixes:
        Suffixes of the files to return.

    Raises
    ------
    DataError
        The folder cannot be read, contains no picture, or contains broken links.
    """
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        raise DataError(
            "no such file or folder"
            if is_missing
            else f"the folder cannot be read ({error.strerror})",
            where=folder,
            hint="check the spelling and the permissions of the path",
        ) from error
    named = [p for p in visible if p.name.lower().endswith(suffixes)]
    pictures = [p for p in named if p.is_file()]
    if broken := [p for p in named if p.is_symlink() and not p.exists()]:
        raise DataError(
            f"{counted(len(broken), 'link is', 'links are')} broken: the targets are missing",
            where=broken[0],
            hint="restore the targets (git annex get or dvc pull), or remove the links",
        )
    for path in pictures:
        if not path.name.isprintable():
            raise DataError(
                f"the file name {path.name!r} contains characters that are not printable",
                where=folder,
                hint="rename the file",
            )
    if not pictures:
        raise DataError(
            "the folder contains no images",
            where=folder,
            hint=f"pass a folder with files that end in {', '.join(suffixes)}",
        )
    return pictures


def read_picture(path: Path, *, labels: bool = False) -> AnyArray:
    """Read a picture with dtype and channels unchanged: (rows, columns) or (rows, columns, n).

    A palette is replaced by its colours; with ``labels``, by the labels that it stands for
    (`pleura.formats.channels.palette_labels`).

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt or not a single picture, or its claimed size
        exceeds the capacity of the file or the memory limit.
    """
    return _picture_format(path).read_picture(path, labels=labels)


def write_picture(path: Path, picture: AnyArray) -> None:
    """Write a (rows, columns) picture losslessly and atomically; the suffix selects the format.

    Raises
    ------
    DataError
        The format or the dtype cannot be written without loss, or the file cannot be written.
    """
    picture_format = next(
        (f for f in PICTURE_FORMATS if _has_suffix(path, f.output_suffixes)), None
    )
    if picture_format is None or picture.dtype not in map(np.dtype, picture_format.voxel_types):
        suffix = path.suffix.lower() or "a file without suffix"
        raise DataError(
            f"values of type {picture.dtype} cannot be stored losslessly as {suffix}",
            where=path,
            hint="choose a name that ends in .tif or .npy",
        )
    write_atomically(path, lambda file: picture_format.encode(file, picture))


def read_picture_stack(folder: Path) -> Scan:
    """Read a folder of pictures as one volume: sorted by the numbers in names, from foot to head.

    Raises
    ------
    ScanError, DataError
        A picture cannot be read, or the pictures differ in format or size.
    """
    paths = sorted(list_pictures(folder), key=_numeric_order)
    formats = list(dict.fromkeys(map(_picture_format, paths)))
    if len(formats) > 1:
        raise ScanError(
            f"the images have {len(formats)} formats, so they are not one volume: "
            f"{' and '.join(f.name for f in formats)}",
            where=folder,
            hint="keep only images of one format in the folder",
        )
    slices = [to_grey(read_picture(path), path) for path in paths]
    sizes = {image.shape for image in slices}
    if len(sizes) > 1:
        raise ScanError(
            f"the images have {len(sizes)} different sizes, so they are not one volume",
            where=folder,
            hint="omit --stack to read each image as a separate scan",
        )
    scan = scan_of_pictures(folder.name, np.stack(slices), folder, tuple(paths), formats[0])
    order = Decision("slices", f"{paths[0].name} to {paths[-1].name}", "by name, foot to head")
    return replace(scan, decisions=(order, *scan.decisions))


def _picture_format(path: Path) -> PictureFormat:
    for candidate in PICTURE_FORMATS:
        if _has_suffix(path, candidate.suffixes):
            return candidate
    raise DataError(
        f"'{path.suffix}' is not a supported image format",
        where=path,
        hint=f"convert it to one of {', '.join(PICTURE_SUFFIXES)}",
    )


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes


def _numeric_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts slice_2 before slice_10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
