"""A preview of a scan with its mask, without matplotlib: axial, coronal and sagittal slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pleura.figures.drawing import LINE_HEIGHT, draw_contour, draw_text, wrap_text
from pleura.figures.label_layers import label_layers
from pleura.figures.overlay import grey_levels
from pleura.figures.palette import TEXT_ON_BLACK, label_colour
from pleura.typing import AnyArray

LUNG_WINDOW = (-1350.0, 150.0)
"""HU that are shown black and white: a window width of 1500 at a level of -600."""

PANEL_SIZE = 256
"""Rows and columns of a panel in pixels."""

PANELS_PER_ROW, AXIAL_PANELS = 4, 8

_MAIN_PANELS = ((0, 2), (1, 1), (2, 0), (2, 1))

_MARGIN = 12  # pixels around text
_SCALE_BARS = {100.0: "10 cm", 50.0: "5 cm", 10.0: "1 cm"}
_MAX_BAR = 0.4  # of the width of a panel


@dataclass(frozen=True)
class PreviewCaption:
    """Text of a preview.

    Parameters
    ----------
    legend:
        Text by label, shown beside the colour of the label.
    lines:
        Further lines.
    flags:
        Reasons to check the mask. Where space is limited, they replace the further lines.
    classes:
        Labels of several classes, in the order of their colours; empty for lungs.
    """

    legend: Mapping[int, str] = field(default_factory=dict)
    lines: Sequence[str] = ()
    flags: Sequence[str] = ()
    classes: Sequence[int] = ()


def _index_table(classes: Sequence[int]) -> list[int]:
    """Return 1 plus the index of a class by its label; 0 for other labels."""
    return [classes.index(label) + 1 if label in classes else 0 for label in range(256)]


def preview_image(
    hu: NDArray[np.int16],
    labels: AnyArray,
    spacing: tuple[float, float, float],
    caption: PreviewCaption = PreviewCaption(),
    *,
    scale_bar: bool = True,
) -> NDArray[np.uint8]:
    """Draw slices of a scan with the contours of its mask.

    Parameters
    ----------
    hu, labels:
        Canonical axial slices (slices, rows, columns): from foot to head, rows from front to back,
        columns from the patient's right to left. Of classes that may overlap, ``labels`` is a bit
        field, uint16.
    spacing:
        Distance of slices, rows and columns in mm.
    caption:
        Text beside the sagittal slice, or below a single slice.
    scale_bar:
        Draw scale bars; False if the spacing is unknown.

    Returns
    -------
    uint8 (rows, columns, 3)
        An RGB image. Slices are numbered from the feet, from 1.
    """
    z, y, x = spacing
    if caption.classes and labels.dtype == np.uint8:
        labels = np.array(_index_table(caption.classes), np.uint8)[labels]
    if len(labels) == 1:
        panel = _panel(hu[0], labels[0], (y, x), _Marks("RL", "AP", scale_bar), 2 * PANEL_SIZE)
        return np.vstack([panel, _text_panel(caption, 2 * PANEL_SIZE)])
    panels = [
        _panel(hu[i], labels[i], (y, x), _Marks("RL", "AP", scale_bar, f"slice {i + 1}"))
        for i in _shown_slices(labels)
    ]
    row = _median_index(labels.sum((0, 2)), hu.shape[1] // 2)
    first = labels & np.uint16(1) if labels.dtype == np.uint16 else labels == 1
    column = _median_index(first.sum((0, 1)), hu.shape[2] // 2)
    coronal, sagittal = _Marks("RL", "SI", scale_bar), _Marks("AP", "SI", scale_bar)
    panels += [
        _panel(hu[::-1, row], labels[::-1, row], (z, x), coronal),
        _panel(hu[::-1, :, column], labels[::-1, :, column], (z, y), sagittal),
    ]
    rows = [
        np.hstack(panels[i : i + PANELS_PER_ROW]) for i in range(0, AXIAL_PANELS, PANELS_PER_ROW)
    ]
    text = _text_panel(caption, 2 * PANEL_SIZE, PANEL_SIZE)
    return np.vstack([*rows, np.hstack([*panels[AXIAL_PANELS:], text])])


def main_panels(preview: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the slices of a preview that show most in a small image, without the caption.

    Parameters
    ----------
    preview:
        An image that `preview_image` returned.

    Returns
    -------
    uint8 (rows, columns, 3)
        Two axial slices above the coronal and the sagittal slice, or the only slice.
    """
    size = PANEL_SIZE
    if preview.shape[1] < PANELS_PER_ROW * size:
        return preview[: 2 * size]
    panels = [preview[r * size :, c * size :][:size, :size] for r, c in _MAIN_PANELS]
    return np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])


def _shown_slices(labels: AnyArray) -> NDArray[np.int64]:
    """Return the numbers of the axial slices to show, from the highest to the lowest."""
    inside = np.flatnonzero(labels.any((1, 2)))
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(labels) - 1)
    numbers = np.linspace(last, first, AXIAL_PANELS + 2).round().astype(np.int64)
    return np.asarray(numbers[1:-1])


def _median_index(counts: NDArray[Any], default: int) -> int:
    """Return the index at which half of the counts is reached."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, total[-1] / 2)) if total[-1] else default


@dataclass(frozen=True)
class _Marks:
    """Letters at the left and right end and at the top and bottom of a panel, and further marks."""

    horizontal: str
    vertical: str
    scale_bar: bool
    title: str = ""


def _panel(
    hu: NDArray[np.int16],
    labels: AnyArray,
    spacing: tuple[float, float],
    marks: _Marks,
    size: int = PANEL_SIZE,
) -> NDArray[np.uint8]:
    """Draw one slice in physical proportions in a square."""
    height, width = (n * s for n, s in zip(hu.shape, spacing, strict=True))
    scale = size / max(height, width)  # pixels per mm
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    grey = Image.fromarray(grey_levels(hu, LUNG_WINDOW))
    picture = grey.resize(shape, Image.Resampling.BILINEAR).convert("RGB")
    for label, inside in label_layers(labels):
        draw_contour(picture, inside, label_colour(label))
    square = Image.new("RGB", (size, size))
    square.paste(picture, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    _mark(square, marks)
    if marks.scale_bar:
        _draw_scale_bar(square, scale)
    return np.asarray(square)


def _mark(square: Image.Image, marks: _Marks) -> None:
    size, middle, edge = square.width, square.width / 2, 6
    draw_text(square, marks.horizontal[0], (edge, middle), anchor="lm")
    draw_text(square, marks.horizontal[1], (size - edge, middle), anchor="rm")
    draw_text(square, marks.vertical[0], (middle, edge), anchor="ma")
    draw_text(square, marks.vertical[1], (middle, size - edge), anchor="md")
    draw_text(square, marks.title, (edge, edge))


def _draw_scale_bar(square: Image.Image, scale: float) -> None:
    """Draw the longest bar that fits in the lower left corner; ``scale`` is in pixels per mm."""
    lengths = {round(mm * scale): text for mm, text in _SCALE_BARS.items()}
    fitting = [length for length in lengths if 1 <= length <= _MAX_BAR * square.width]
    if not fitting:
        return
    length, left, bottom = max(fitting), 8, square.height - 9
    draw = ImageDraw.Draw(square)
    draw.rectangle((left - 1, bottom - 4, left + length + 1, bottom + 2), "black")
    draw.rectangle((left, bottom - 1, left + length, bottom), TEXT_ON_BLACK)
    for end in (left, left + length):
        draw.line((end, bottom - 4, end, bottom + 2), TEXT_ON_BLACK)
    draw_text(square, lengths[length], (left, bottom - 7), anchor="ld")


def _text_panel(
    caption: PreviewCaption, width: int, height: int | None = None
) -> NDArray[np.uint8]:
    """Draw the caption; without ``height`` the panel fits it, else lines without flags give way."""
    lines = _caption_lines(caption, width - 2 * _MARGIN)
    if height is not None:
        most = (height - 2 * _MARGIN) // LINE_HEIGHT
        if len(lines) > most:
            lines = _caption_lines(replace(caption, lines=()), width - 2 * _MARGIN)
        if len(lines) > most:
            lines = [*lines[: most - 1], "…"]
    needed = 2 * _MARGIN + LINE_HEIGHT * len(lines)
    picture = Image.new("RGB", (width, height or needed))
    for i, line in enumerate(lines):
        top, left = _MARGIN + LINE_HEIGHT * i, _MARGIN
        if i < len(caption.legend):
            label = list(caption.legend)[i]
            colour = label_colour(i + 1 if caption.classes else label)
            ImageDraw.Draw(picture).rectangle((left, top + 1, left + 11, top + 12), colour)
            left += 20
        draw_text(picture, line, (left, top))
    return np.asarray(picture)


def _caption_lines(caption: PreviewCaption, width: int) -> list[str]:
    lines = [*caption.legend.values()]
    lines += [line for text in caption.lines for line in wrap_text(text, width)]
    if caption.flags:
        lines += ["", "Check this mask:"]
        lines += [line for flag in caption.flags for line in wrap_text(flag, width)]
    return lines
