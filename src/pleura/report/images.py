"""Images of a page, as data in its text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pleura.figures.drawing import contour_lines
from pleura.figures.overlay import Window, grey_levels
from pleura.figures.preview import LUNG_WINDOW

_SLICE_SIZE = 320  # pixels of the longer side of a slice
_THUMBNAIL_WIDTH = 512


@dataclass(frozen=True)
class PageImage:
    """An image with contours.

    Parameters
    ----------
    image:
        The image as a data URI.
    width, height:
        Its size in pixels.
    paths:
        Contours: kind, and SVG path in pixels of the image.
    """

    image: str
    width: int
    height: int
    paths: tuple[tuple[str, str], ...] = ()


def slice_image(
    image: NDArray[Any],
    masks: Iterable[tuple[str, NDArray[Any]]],
    window: Window = LUNG_WINDOW,
) -> PageImage:
    """Return a slice with the contours of masks.

    Parameters
    ----------
    image:
        (rows, columns).
    masks:
        Kind and mask (rows, columns): ``reference``, or a kind of `label_kind`.
    window:
        Values that are shown as black and as white.
    """
    grey = Image.fromarray(grey_levels(image, window))
    scale = min(1.0, _SLICE_SIZE / max(grey.size))
    size = max(1, round(grey.width * scale)), max(1, round(grey.height * scale))
    paths = tuple((kind, _path(mask, scale)) for kind, mask in masks if mask.any())
    small = grey.resize(size, Image.Resampling.BILINEAR)
    return PageImage(_data_uri(small, 60), *size, paths)


def thumbnail(picture: NDArray[np.uint8]) -> PageImage:
    """Return a small copy of an image uint8 (rows, columns, RGB)."""
    image = Image.fromarray(picture)
    scale = min(1.0, _THUMBNAIL_WIDTH / image.width)
    size = round(image.width * scale), max(1, round(image.height * scale))
    return PageImage(_data_uri(image.resize(size, Image.Resampling.BILINEAR), 60), *size)


def _path(mask: NDArray[Any], scale: float) -> str:
    """Return the contours of a mask as an SVG path, in pixels of the scaled image."""
    parts = []
    for line in contour_lines(np.not_equal(mask, 0), 0.5):
        points = (line[:-1] * scale).round(1)
        moved = np.r_[True, np.diff(points, axis=0).any(1)]
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points[moved]) + "Z")
    return "".join(parts)


def _data_uri(image: Image.Image, quality: int) -> str:
    content = io.BytesIO()
    image.save(content, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()
