"""Reading of 2-D images and their reference masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.formats.channels import equal_channels
from pleura.formats.image_files import read_image_file
from pleura.masks.classes import class_indices
from pleura.masks.labels import map_values
from pleura.masks.selection import RoiSelection, select_values
from pleura.names import shorten_list
from pleura.scan.labels import Label
from pleura.typing import AnyArray


def read_image_2d(path: Path) -> AnyArray:
    """Read a 2-D image file.

    Returns
    -------
    ndarray
        (rows, columns), in the stored dtype and units.

    Raises
    ------
    DataError
        The file is unreadable, a colour image, constant, or contains NaN or infinity.
    """
    stored = read_image_file(path)
    image = equal_channels(stored)
    if image is None:
        raise DataError(
            f"the image has {stored.shape[2]} colour channels, not CT values",
            where=path,
            hint="export the CT values themselves (16-bit TIFF), not a screenshot",
        )
    if image.dtype.kind == "b":
        raise DataError(
            "the image has only two values: it is a mask, not a CT image",
            where=path,
            hint="pass the CT images; check whether images and masks are swapped",
        )
    if not np.abs(image, dtype=np.float64).max() <= np.finfo(np.float32).max:
        raise DataError(
            "the image contains NaN, infinity, or values beyond single precision",
            where=path,
            hint="replace them, for example by -1024 outside the field of view",
        )
    if image.min() == image.max():
        raise DataError(
            f"the image is constant: every value is {image.flat[0]}",
            where=path,
            hint="export the slice again, or remove it together with its mask",
        )
    return image


def read_mask_2d(
    path: Path, labels: Sequence[Label] = (), roi: RoiSelection | None = None
) -> NDArray[np.uint8]:
    """Read a 2-D reference mask.

    Equal colour channels count as one. A palette is read as labels
    (`pleura.formats.channels.palette_labels`).

    Parameters
    ----------
    path:
        The file.
    labels:
        The classes of the mask; empty: lung is any value but 0.
    roi:
        Labels of the values to read, as for `read_mask`; other values are background.

    Returns
    -------
    ndarray
        uint8 (rows, columns), 0 and 1; all zero for a slice without lung. With ``labels``, 1 plus
        the index of the class.

    Raises
    ------
    DataError
        The file is unreadable or has several channels. Without ``labels``: it has several grey
        levels, or is constant but not zero. With ``labels``: it contains another value.
    """
    stored = read_image_file(path, labels=True)
    mask = equal_channels(stored)
    if mask is None:
        raise DataError(
            f"the mask has {stored.shape[2]} colour channels",
            where=path,
            hint="save the mask with one channel, 0 outside and 255 (or 1) inside the lungs",
        )
    if not np.isfinite(mask).all():
        raise DataError(
            "the mask contains NaN or infinity",
            where=path,
            hint="save it with 0 outside and 255 (or 1) inside the lungs",
        )
    if labels or roi is not None:
        if mask.dtype.kind == "f" and (mask != np.rint(mask)).any():
            raise DataError(
                f"the mask has fractional values, from {mask.min():g} to {mask.max():g}",
                where=path,
                hint="save whole numbers, the labels of the recipe",
            )
        if roi is not None:
            mask = map_values(mask, select_values(roi, path))
            return class_indices(mask, labels, path) if labels else _as_binary(mask)
        return class_indices(mask, labels, path)
    values = np.unique(mask)
    if len(values) == 1 and values[0] != 0:
        raise DataError(
            f"the mask is constant: every value is {values[0]}",
            where=path,
            hint="create it again, or remove it together with its image",
        )
    if len(values) > 2 or values[0] != 0:
        raise DataError(
            f"the mask has {len(values)} grey levels ({shorten_list([str(v) for v in values])}) "
            "instead of two",
            where=path,
            hint="save it losslessly with 0 outside and one other value inside the lungs",
        )
    return _as_binary(mask)


def _as_binary(mask: AnyArray) -> NDArray[np.uint8]:
    """Return 1 where a mask is not 0, else 0."""
    return np.not_equal(mask, 0).astype(np.uint8)
