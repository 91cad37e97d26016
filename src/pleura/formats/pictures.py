"""Two-dimensional pictures in files: TIFF, PNG, JPEG and NumPy arrays, in and out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import tifffile
from PIL import Image

from pleura.errors import DataError, PleuraError, first_line
from pleura.files.atomic import write_atomically
from pleura.files.limits import check_claimed_size
from pleura.files.listing import check_path
from pleura.formats.channels import palette_labels
from pleura.formats.tiff import read_tiff
from pleura.typing import AnyArray

TIFF_SUFFIXES = (".tif", ".tiff")
PNG_SUFFIXES = (".png",)
JPEG_SUFFIXES = (".jpg", ".jpeg")
NUMPY_SUFFIXES = (".npy",)
PICTURE_SUFFIXES = (*TIFF_SUFFIXES, *PNG_SUFFIXES, *JPEG_SUFFIXES, *NUMPY_SUFFIXES)
_NOT_VALUES = ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


def list_pictures(folder: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[Path]:
    """Return the picture files directly in ``folder``, sorted by name; hidden files are left out.

    ``suffixes`` are those of pictures, and of whatever else is asked for.

    Raises
    ------
    DataError
        The folder is missing, not a folder, cannot be read, holds no picture, or broken links.
    """
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"no such file or folder, or it cannot be read ({error.strerror})",
            where=folder,
            hint="check the spelling and the permissions of the path",
        ) from error
    named = [p for p in visible if p.name.lower().endswith(suffixes)]
    pictures = [p for p in named if p.is_file()]
    if broken := [p for p in named if p.is_symlink() and not p.exists()]:
        raise DataError(
            f"{len(broken)} broken links: what they lead to is missing",
            where=broken[0],
            hint="restore the files (of git-annex or DVC: get them), or remove the links",
        )
    for path in pictures:
        if not path.name.isprintable():
            raise DataError(
                f"a file name that cannot be written down: {path.name!r}",
                where=folder,
                hint="rename the file",
            )
    if not pictures:
        raise DataError(
            "no picture in this folder",
            where=folder,
            hint=f"give a folder that holds files ending in {', '.join(suffixes)}",
        )
    return pictures


def read_picture(path: Path, *, labels: bool = False) -> AnyArray:
    """Read a picture with dtype and channels unchanged: (rows, columns) or (rows, columns, n).

    A palette is replaced by its colours; with ``labels``, by the labels that it stands for
    (`pleura.formats.channels.palette_labels`).

    Raises
    ------
    DataError
        The file is missing, truncated, corrupt, not a single picture, or claims more than it can
        hold or than the memory limit.
    """
    try:
        check_path(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = _reader(path, labels)(path)
    except PleuraError as error:
        raise DataError(error.message, where=path, hint=error.hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            "the header claims a picture far larger than a CT slice",
            where=path,
            hint="check the file: no CT slice is that large",
        ) from error
    except PermissionError as error:
        raise DataError(
            "the file may not be read", where=path, hint="change its permissions"
        ) from error
    # A corrupt file makes decoders raise anything from struct.error to MemoryError.
    except Exception as error:
        raise DataError(
            f"the picture cannot be read: it is truncated or corrupt ({first_line(error)})",
            where=path,
            hint="copy or export the file again, or leave it out",
        ) from error
    if picture.dtype.kind not in "biuf":
        raise DataError(
            f"values of type {picture.dtype} are no picture",
            where=path,
            hint="save integers or floating point numbers",
        )
    if picture.size == 0 or picture.ndim not in (2, 3):
        raise DataError(
            f"not a single picture but an array of shape {picture.shape}",
            where=path,
            hint="give one 2-D slice a file",
        )
    return picture


def write_picture(path: Path, picture: AnyArray) -> None:
    """Write a (rows, columns) picture losslessly, whole or not at all; the suffix decides how.

    Raises
    ------
    DataError
        The suffix or the dtype has no lossless form, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        predictor = 2 if picture.dtype.kind in "iu" else None

        def write(file: IO[bytes]) -> None:
            tifffile.imwrite(
                file,
                picture,
                photometric="minisblack",
                compression="zlib",
                predictor=predictor,
            )
    elif suffix in PNG_SUFFIXES and picture.dtype in (np.uint8, np.uint16):

        def write(file: IO[bytes]) -> None:
            Image.fromarray(picture).save(file, format="png")
    elif suffix in NUMPY_SUFFIXES:

        def write(file: IO[bytes]) -> None:
            np.save(file, picture)
    else:
        raise DataError(
            f"{picture.dtype} cannot be stored losslessly as {suffix or 'a file without suffix'}",
            where=path,
            hint="choose a name that ends in .tif or .npy",
        )
    write_atomically(path, write)


def _reader(path: Path, labels: bool) -> Callable[[Path], AnyArray]:
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return partial(read_tiff, labels=labels)
    if suffix in NUMPY_SUFFIXES:
        return _read_npy
    if suffix in PICTURE_SUFFIXES:
        return partial(_read_with_pillow, labels=labels)
    raise DataError(
        f"'{path.suffix}' is not a picture format",
        where=path,
        hint=f"convert it to one of {', '.join(PICTURE_SUFFIXES)}",
    )


def _read_with_pillow(path: Path, labels: bool) -> AnyArray:
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        claimed = image.width * image.height * len(image.getbands())
        check_claimed_size(claimed, path.stat().st_size, path)
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(
                "several pictures in one file", where=path, hint="save each as a file of its own"
            )
        if image.getexif().get(274, 1) != 1:
            raise DataError(
                "the picture is stored turned or mirrored (EXIF orientation)",
                where=path,
                hint="save it upright: programs disagree on whether they turn it back",
            )
        if image.mode == "P" and labels:
            return palette_labels(image, path)
        # Neither palette indices nor inks are grey values.
        return np.asarray(image.convert("RGB") if image.mode in _NOT_VALUES else image)


def _read_npy(path: Path) -> AnyArray:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    check_claimed_size(mapped.nbytes, None, path)
    return np.array(mapped)
