"""Images with the contour of a mask, without matplotlib."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pleura.figures.label_layers import label_layers
from pleura.figures.palette import PREDICTION, label_colour, rgb
from pleura.typing import AnyArray, BoolArray

Window = tuple[float, float]
"""Values that are shown black and white."""


def overlay(
    image: AnyArray, mask: AnyArray, window: Window | None = None, colour: str = PREDICTION
) -> NDArray[np.uint8]:
    """Return an RGB image with the contour of a mask.

    The contour consists of the `contour_pixels` of the mask.

    Parameters
    ----------
    image:
        Grey values (rows, columns).
    mask:
        Nonzero inside, (rows, columns); a label map is uint8, and each label has its own
        contour; so does each bit of a bit field, uint16.
    window:
        Values that are shown black and white; by default `grey_range`.
    colour:
        Colour of the contour, ``#rrggbb``; further labels have the colours of `label_colour`.

    Returns
    -------
    uint8 (rows, columns, 3).
    """
    low, high = window or grey_range(image)
    grey = np.clip((image.astype(np.float32) - low) / (high - low), 0, 1)
    picture = np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    layers = [] if mask.dtype.kind == "f" else [*label_layers(mask)]
    if len(layers) < 2:
        picture[contour_pixels(np.not_equal(mask, 0))] = rgb(colour)
    for label, inside in layers if len(layers) > 1 else ():
        picture[contour_pixels(inside)] = rgb(label_colour(label))
    return picture


def contour_pixels(mask: BoolArray) -> BoolArray:
    """Return the pixels of a mask with a neighbour (of four) outside it or outside the image."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner, np.bool_)


def grey_levels(image: AnyArray, window: Window) -> NDArray[np.uint8]:
    """Return an image as grey levels from 0 to 255, uint8 of the same shape.

    Parameters
    ----------
    image:
        Grey values.
    window:
        Values that are shown black and white.
    """
    low, high = window
    levels = (image.astype(np.float32) - low) / (high - low) * 255
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def grey_range(image: AnyArray) -> Window:
    """Return the 0.5th and 99.5th percentile of an image (rows, columns).

    Only the inscribed circle counts, since scanners pad the corners with values far below air.
    """
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in image.shape)
    low, high = np.percentile(image[y[:, None] ** 2 + x**2 <= 0.9], (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))
