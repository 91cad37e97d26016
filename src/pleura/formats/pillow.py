"""Images that Pillow decodes: PNG and JPEG."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pleura.errors import DataError
from pleura.files.limits import check_claimed_size
from pleura.formats.channels import palette_labels
from pleura.typing import AnyArray

_EXIF_ORIENTATION = 274
_MODES_WITHOUT_VALUES = ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes of Pillow whose channels are palette indices or colours, not grey values."""


def decode_with_pillow(
    path: Path, decoder: Literal["PNG", "JPEG"], *, labels: bool = False
) -> AnyArray:
    """Return the image in a file: (rows, columns) or (rows, columns, channels).

    Parameters
    ----------
    path, decoder:
        The file and Pillow's name of its format.
    labels:
        Return the labels that a palette stands for, instead of its colours.

    Raises
    ------
    DataError
        There are several images, or the EXIF orientation is not upright.
    Exception
        The file is damaged.
    """
    with Image.open(path, formats=(decoder,)) as image:
        claimed = image.width * image.height * len(image.getbands())
        check_claimed_size(claimed, path.stat().st_size, path)
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(
                "the file contains several images", where=path, hint="save one image per file"
            )
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            raise DataError(
                "the image is stored rotated or mirrored (EXIF orientation)",
                where=path,
                hint="save it upright: not all programs apply this tag",
            )
        if image.mode == "P" and labels:
            return palette_labels(image, path)
        return np.asarray(image.convert("RGB") if image.mode in _MODES_WITHOUT_VALUES else image)
