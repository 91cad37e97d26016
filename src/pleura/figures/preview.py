"""A preview of a scan with its mask, without matplotlib: axial, coronal and sagittal slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.figures.overlay import grey_levels
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, TEXT_ON_BLACK, rgb

LUNG_WINDOW = (-1350.0, 150.0)
"""HU that are shown black and white: a window width of 1500 at a level of -600."""

PANEL_SIZE = 256
"""Rows and columns of a panel in pixels."""

PANELS_PER_ROW, AXIAL_PANELS = 4, 8

LABEL_COLOURS = {1: rgb(RIGHT_LUNG), 2: rgb(LEFT_LUNG)}
"""RGB colours of the labels."""


def preview_image(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    lines: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """Draw slices of a scan with the contours of its mask.

    Parameters
    ----------
    hu, labels:
        Canonical axial slices (slices, rows, columns): from foot to head, rows from front to back,
        columns from the patient's right to left.
    spacing:
        Distance of slices, rows and columns in mm.
    lines:
        Text beside the sagittal slice.

    Returns
    -------
    uint8 (rows, columns, 3)
        An RGB image.
    """
    inside = np.flatnonzero(labels.any((1, 2)))
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(labels) - 1)
    if len(labels) == 1:
        panel = _axial_panel(hu[0], labels[0], spacing, 2 * PANEL_SIZE)
        return np.vstack([panel, _text_panel(lines, panel.shape[1], 24 * max(len(lines), 1))])
    chosen = np.linspace(last, first, AXIAL_PANELS + 2).round().astype(int)[1:-1]
    panels = [_axial_panel(hu[i], labels[i], spacing, PANEL_SIZE) for i in chosen]
    z, y, x = spacing
    row = _median_index(labels.sum((0, 2)), hu.shape[1] // 2)
    column = _median_index((labels == 1).sum((0, 1)), hu.shape[2] // 2)
    panels.append(_panel(hu[::-1, row], labels[::-1, row], (z, x), PANEL_SIZE, "RL"))
    panels.append(_panel(hu[::-1, :, column], labels[::-1, :, column], (z, y), PANEL_SIZE, "AP"))
    panels.append(_text_panel(lines, 2 * PANEL_SIZE, PANEL_SIZE))
    rows = [
        np.hstack(panels[i : i + PANELS_PER_ROW]) for i in range(0, AXIAL_PANELS, PANELS_PER_ROW)
    ]
    return np.vstack([*rows, np.hstack(panels[AXIAL_PANELS:])])


def _axial_panel(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], spacing: tuple[float, ...], size: int
) -> NDArray[np.uint8]:
    return _panel(hu, labels, (spacing[1], spacing[2]), size, "RL")


def _median_index(counts: NDArray[Any], default: int) -> int:
    """Return the index at which half of the counts is reached."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, total[-1] / 2)) if total[-1] else default


def _panel(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float],
    size: int,
    end_labels: str,
) -> NDArray[np.uint8]:
    """Draw one slice in physical proportions in a square, with labels at its left and right end."""
    height, width = (n * s for n, s in zip(hu.shape, spacing, strict=True))
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    grey = grey_levels(hu, LUNG_WINDOW)
    interpolation = cv2.INTER_AREA if shape[0] < hu.shape[1] else cv2.INTER_LINEAR
    picture = np.repeat(cv2.resize(grey, shape, interpolation=interpolation)[..., None], 3, 2)
    for label, colour in LABEL_COLOURS.items():
        mask = (labels == label).astype(np.float32)
        inside = cv2.resize(mask, shape, interpolation=cv2.INTER_LINEAR) > 0.5
        contours, _ = cv2.findContours(
            inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - shape[1]) // 2, (size - shape[0]) // 2
    square[top : top + shape[1], left : left + shape[0]] = picture
    for text, column in zip(end_labels, (4, size - 16), strict=True):
        _put_text(square, text, (column, 16))
    return square


def _text_panel(lines: Sequence[str], width: int, height: int) -> NDArray[np.uint8]:
    picture = np.zeros((height, width, 3), np.uint8)
    for i, line in enumerate(lines):
        _put_text(picture, line, (12, 20 + 22 * i))
    return picture


def _put_text(picture: NDArray[np.uint8], text: str, position: tuple[int, int]) -> None:
    ascii_text = text.encode("ascii", "replace").decode()
    font, colour = cv2.FONT_HERSHEY_SIMPLEX, rgb(TEXT_ON_BLACK)
    cv2.putText(picture, ascii_text, position, font, 0.45, colour, 1, cv2.LINE_AA)
