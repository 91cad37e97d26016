"""Conversion of channels and palettes of images to one channel of values or labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pleura.errors import DataError
from pleura.typing import AnyArray


def equal_channels(image: AnyArray) -> AnyArray | None:
    """Return an image of equal colour channels as (rows, columns); None if they differ.

    The last channel of two or four is transparency, which must be constant.
    """
    if image.ndim == 2:
        return image
    has_alpha = image.shape[2] in (2, 4)
    colours = image[..., :-1] if has_alpha else image
    if has_alpha and (image[..., -1] != image[0, 0, -1]).any():
        return None
    if (colours != colours[..., :1]).any():
        return None
    return np.ascontiguousarray(colours[..., 0])


def palette_labels(image: Image.Image, path: Path) -> AnyArray:
    """Return the labels (rows, columns) of a mask that is stored as indices into a palette.

    If all colours in use are grey, the labels are the grey values, since the order of palettes
    differs between programs. Otherwise the labels are the indices, and 0 is outside the lungs.

    Raises
    ------
    DataError
        Black, which represents the outside, has an index other than 0.
    """
    indices, colours = np.asarray(image), np.zeros((256, 3), np.uint8)
    palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    used = np.unique(indices)
    used_colours = colours[used]
    if (used_colours == used_colours[:, :1]).all():
        return np.asarray(colours[indices, 0])
    black = (used_colours == 0).all(axis=1)
    if black.any() and used[black.argmax()] != 0:
        raise DataError(
            f"black has index {used[black.argmax()]} in the palette of the mask, not 0",
            where=path,
            hint="save the mask in greyscale, with 0 outside and 255 inside the lungs",
        )
    return np.asarray(indices)
