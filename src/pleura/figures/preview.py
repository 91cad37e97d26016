"""One picture of a scan and its mask, drawn in a tenth of a second: axial, coronal, sagittal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, TEXT_ON_BLACK, rgb

LUNG_WINDOW = (-1350.0, 150.0)  # HU: a width of 1500 at a level of -600
PANEL = 256
COLUMNS, AXIAL = 4, 8
LABEL_COLOURS = {1: rgb(RIGHT_LUNG), 2: rgb(LEFT_LUNG)}
"""RGB colours of the labels."""


def preview_image(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    lines: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """Draw slices through the lungs with the contours of their mask.

    Parameters
    ----------
    hu, labels:
        Canonical axial slices (slices, rows, columns): from foot to head, rows from front to back,
        columns from the patient's right to left.
    spacing:
        Millimetres along slices, rows and columns.
    lines:
        What is written beside the sagittal slice.

    Returns
    -------
    uint8 (rows, columns, RGB).
    """
    inside = np.flatnonzero(labels.any((1, 2)))
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(labels) - 1)
    if len(labels) == 1:
        panels = [_axial(hu[0], labels[0], spacing, 2 * PANEL)]
        return np.vstack([panels[0], _words(lines, panels[0].shape[1], 24 * max(len(lines), 1))])
    chosen = np.linspace(last, first, AXIAL + 2).round().astype(int)[1:-1]
    panels = [_axial(hu[i], labels[i], spacing, PANEL) for i in chosen]
    z, y, x = spacing
    row = _middle(labels.sum((0, 2)), hu.shape[1] // 2)
    column = _middle((labels == 1).sum((0, 1)), hu.shape[2] // 2)
    coronal = _panel(hu[::-1, row], labels[::-1, row], (z, x), PANEL, "RL")
    sagittal = _panel(hu[::-1, :, column], labels[::-1, :, column], (z, y), PANEL, "AP")
    panels += [coronal, sagittal]
    panels.append(_words(lines, 2 * PANEL, PANEL))
    rows = [np.hstack(panels[i : i + COLUMNS]) for i in range(0, AXIAL, COLUMNS)]
    return np.vstack([*rows, np.hstack(panels[AXIAL:])])


def _axial(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], spacing: tuple[float, ...], side: int
) -> NDArray[np.uint8]:
    return _panel(hu, labels, (spacing[1], spacing[2]), side, "RL")


def _middle(counts: NDArray[Any], otherwise: int) -> int:
    """Return the index that halves the counts."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, total[-1] / 2)) if total[-1] else otherwise


def _panel(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float],
    side: int,
    ends: str,
) -> NDArray[np.uint8]:
    """Draw one slice in physical proportions in a square, its left and right end named."""
    height, width = (n * s for n, s in zip(hu.shape, spacing, strict=True))
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    low, high = LUNG_WINDOW
    grey = np.clip((hu.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    shrinks = size[0] < hu.shape[1]
    fine = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    picture = np.repeat(fine[..., None], 3, 2)
    for label, colour in LABEL_COLOURS.items():
        mask = cv2.resize(
            (labels == label).astype(np.float32), size, interpolation=cv2.INTER_LINEAR
        )
        found, _ = cv2.findContours(
            (mask > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, found, -1, colour, 1, cv2.LINE_AA)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = picture
    for text, place in zip(ends, (4, side - 16), strict=True):
        _write(square, text, (place, 16))
    return square


def _words(lines: Sequence[str], width: int, height: int) -> NDArray[np.uint8]:
    picture = np.zeros((height, width, 3), np.uint8)
    for i, line in enumerate(lines):
        _write(picture, line, (12, 20 + 22 * i))
    return picture


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(
        picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, rgb(TEXT_ON_BLACK), 1, cv2.LINE_AA
    )
