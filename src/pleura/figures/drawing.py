"""Drawing of contours and text into images, without matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pleura.figures.palette import TEXT_ON_BLACK
from pleura.typing import AnyArray

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

LINE_HEIGHT = 19
"""Distance of lines of text in pixels."""

_FONT_SIZE = 14
_SUPERSAMPLING = 3


def contour_lines(values: AnyArray, level: float) -> list[NDArray[np.float64]]:
    """Return the closed lines at which an image crosses a level.

    Parameters
    ----------
    values:
        Image (rows, columns); outside it, values are 0.
    level:
        Value between inside and outside, above 0.

    Returns
    -------
    list of float64 (n, 2)
        Points (column, row) in pixels: the centre of the first pixel is (0.5, 0.5).
    """
    padded = np.pad(np.asarray(values, np.float64), 1)
    lines = contour_generator(z=padded).lines(level)
    return [np.asarray(line, np.float64) - 0.5 for line in lines]


def draw_contour(image: Image.Image, mask: AnyArray, colour: str, width: float = 1.4) -> None:
    """Draw the antialiased contour of a mask.

    Parameters
    ----------
    image:
        RGB image to draw on.
    mask:
        Nonzero inside, (rows, columns); it covers the whole image.
    colour:
        Colour ``#rrggbb``.
    width:
        Width of the line in pixels.
    """
    inside = Image.fromarray(np.not_equal(mask, 0).astype(np.uint8) * np.uint8(255))
    smooth = np.asarray(inside.resize(image.size, Image.Resampling.BILINEAR))
    scale = _SUPERSAMPLING
    large = Image.new("L", (image.width * scale, image.height * scale))
    draw = ImageDraw.Draw(large)
    for line in contour_lines(smooth, 127.5):
        draw.line((line * scale).ravel().tolist(), 255, round(width * scale))
    image.paste(colour, mask=large.resize(image.size, Image.Resampling.BOX))


def draw_text(
    image: Image.Image,
    text: str,
    position: tuple[float, float],
    *,
    anchor: str = "la",
    colour: str = TEXT_ON_BLACK,
) -> None:
    """Draw text with a black outline, which is readable on any image.

    Parameters
    ----------
    image:
        RGB image to draw on.
    text:
        One line of text.
    position:
        Column and row of the anchor.
    anchor:
        Part of the text at the position, as in Pillow; ``la`` is the upper left corner.
    colour:
        Colour of the text.
    """
    ImageDraw.Draw(image).text(
        position, text, colour, _font(), anchor, stroke_width=2, stroke_fill="black"
    )


def wrap_text(text: str, width: float) -> list[str]:
    """Break text into lines of at most ``width`` pixels; a longer word is broken."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if _font().getlength(longer) <= width:
            lines[-1] = longer
            continue
        lines += _broken(word, width)
    return [line for line in lines if line]


def _broken(word: str, width: float) -> Sequence[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and _font().getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


@cache
def _font() -> Font:
    return ImageFont.load_default(_FONT_SIZE)
