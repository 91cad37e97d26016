"""Channels and palettes of pictures: which of them stand for one channel of values or labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pleura.errors import DataError
from pleura.typing import AnyArray


def equal_channels(picture: AnyArray) -> AnyArray | None:
    """Return a picture of equal colour channels as (rows, columns); None where they differ.

    A last channel of two or four is transparency, which must be the same everywhere.
    """
    if picture.ndim == 2:
        return picture
    opaque = picture.shape[2] in (2, 4)
    colours = picture[..., :-1] if opaque else picture
    if opaque and (picture[..., -1] != picture[0, 0, -1]).any():
        return None
    if (colours != colours[..., :1]).any():
        return None
    return np.ascontiguousarray(colours[..., 0])


def palette_labels(image: Image.Image, path: Path) -> AnyArray:
    """Return the labels (rows, columns) of a mask that is stored as indices into a palette.

    Where the colours in use are grey, their grey values are the labels, since programs sort
    palettes as they like. Otherwise the indices are, of which 0 is outside.

    Raises
    ------
    DataError
        Black, which should be outside, has another index than 0.
    """
    indices, colours = np.asarray(image), np.zeros((256, 3), np.uint8)
    palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    used = np.unique(indices)
    shown = colours[used]
    if (shown == shown[:, :1]).all():
        return np.asarray(colours[indices, 0])
    black = (shown == 0).all(axis=1)
    if black.any() and used[black.argmax()] != 0:
        raise DataError(
            f"the mask's palette has black at index {used[black.argmax()]}, not 0",
            where=path,
            hint="save the mask in grey, 0 outside and 255 inside the lungs",
        )
    return np.asarray(indices)
