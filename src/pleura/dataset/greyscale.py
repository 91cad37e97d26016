"""Simulated 8-bit greyscale images of CT slices: window, contrast, noise, compression, annotations.

Images are float32 (rows, columns); grey values are 0 to 255.
"""

from __future__ import annotations

import string

import numpy as np

from pleura.dataset.opencv import cv2
from pleura.intensity.reference import ASSUMED_WINDOW
from pleura.typing import BoolArray, FloatArray

BLACK, WHITE = 0.0, 255.0


def render_greyscale(hu: FloatArray, outside: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Render a slice as an 8-bit image would show it.

    Parameters
    ----------
    hu:
        float32 (rows, columns), in HU.
    outside:
        bool (rows, columns): region outside the field of view, which may get its own grey value.
    rng:
        The random number generator.

    Returns
    -------
    FloatArray
        float32 (rows, columns), integers from 0 to 255.
    """
    low, high = _sample_window(hu, rng)
    grey = np.clip((hu - low) / (high - low), 0, 1) * WHITE
    if rng.random() < 0.25:
        grey = _equalised(grey, rng)
    if rng.random() < 0.5:
        grey = _altered_contrast(grey, rng)
    if outside.any() and rng.random() < 0.6:
        grey = np.where(outside, np.float32(rng.choice([BLACK, WHITE, rng.uniform(0, 255)])), grey)
    if rng.random() < 0.15:
        levels = 2 ** rng.integers(4, 7)
        grey = np.rint(grey / WHITE * levels) / levels * WHITE
    if rng.random() < 0.25:
        grey = _smaller_and_back(grey, rng)
    if rng.random() < 0.2:
        noise = rng.standard_normal(grey.shape, np.float32)
        grey = grey + noise * np.float32(np.exp(rng.uniform(np.log(1), np.log(20))))
    if rng.random() < 0.2:
        grey = WHITE - grey
    if rng.random() < 0.2:
        grey = _annotated(grey, rng)
    if rng.random() < 0.4:
        grey = _compressed(grey, rng)
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.float32)


def assumed_hu(grey: FloatArray) -> FloatArray:
    """Return the HU of grey values in the assumed window."""
    low, high = ASSUMED_WINDOW
    return np.asarray(grey * np.float32((high - low) / WHITE) + np.float32(low), np.float32)


def _sample_window(hu: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the HU of black and white; lung differs from air or from soft tissue."""
    kinds = ["lung", "full", "mediastinum", "air", "any"]
    kind = rng.choice(kinds, p=[0.32, 0.23, 0.15, 0.08, 0.22])
    if kind == "lung":
        level, width = rng.uniform(-750, -350), rng.uniform(800, 2000)
        return level - width / 2, level + width / 2
    if kind == "full":  # the range of the scanner, or of the slice
        low = rng.choice([-1000, -1024, -1024, -2000, -2048, -3024, float(hu.min())])
        return low, rng.choice(
            [1000, 2000, 3071, max(float(hu.max()), 300), rng.uniform(500, 4000)]
        )
    if kind == "mediastinum":
        level, width = rng.uniform(-50, 120), rng.uniform(200, 600)
        return level - width / 2, level + width / 2
    if kind == "air":  # most lung is as white as soft tissue
        level, width = rng.uniform(-1050, -600), rng.uniform(150, 800)
        return level - width / 2, level + width / 2
    low = rng.uniform(-1400, -250)
    return low, max(low + np.exp(rng.uniform(np.log(250), np.log(4000))), -350.0)


def _equalised(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Equalise the histogram: of regions with limited contrast (CLAHE), or of the whole image."""
    image = np.rint(grey).astype(np.uint8)
    if rng.random() < 0.2:
        return np.asarray(cv2.equalizeHist(image), np.float32)
    tiles = int(rng.integers(2, 9))
    return np.asarray(cv2.createCLAHE(rng.uniform(1, 5), (tiles, tiles)).apply(image), np.float32)


def _altered_contrast(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Apply gamma, or an increasing piecewise linear map, and a part of the range of values."""
    share = grey / np.float32(WHITE)
    if rng.random() < 0.75:
        share = share ** np.float32(np.exp(rng.normal(0, 0.35)))
    else:
        x = np.sort(rng.random(4))
        y = np.sort(rng.random(4))
        share = np.interp(share, [0, *x, 1], [0, *y, 1]).astype(np.float32)
    low, high = (rng.uniform(0, 0.25), rng.uniform(0.5, 1)) if rng.random() < 0.3 else (0.0, 1.0)
    return np.asarray((low + share * (high - low)) * WHITE, np.float32)


def _smaller_and_back(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Resample to a smaller grid and back, as a thumbnail that was enlarged."""
    rows, columns = grey.shape
    factor = rng.uniform(0.3, 0.9)
    small = (max(int(columns * factor), 8), max(int(rows * factor), 8))
    method = rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST, cv2.INTER_CUBIC])
    back = rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST])
    smaller = cv2.resize(grey, small, interpolation=int(method))
    return np.asarray(cv2.resize(smaller, (columns, rows), interpolation=int(back)), np.float32)


def _annotated(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Burn in text, arrows, a ruler or a frame."""
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    rows, columns = grey.shape
    colour = float(rng.choice([WHITE, WHITE, BLACK, rng.uniform(0, 255)]))
    for _ in range(rng.integers(1, 6)):
        text = "".join(rng.choice(list(string.ascii_letters + string.digits + " :/.-"), 8))
        # Text is near the border, where it does not hide the lungs.
        row = int(rows * (rng.uniform(0.02, 0.12) if rng.random() < 0.5 else rng.uniform(0.9, 1)))
        place = int(rng.uniform(0, 0.8) * columns), row
        cv2.putText(grey, text, place, 0, rng.uniform(0.25, 0.6) * columns / 256, colour, 1)
    if rng.random() < 0.4:
        column = int(columns * rng.choice([0.03, 0.97]))
        for row in range(rows // 4, 3 * rows // 4, max(rows // 25, 2)):
            cv2.line(grey, (column - 3, row), (column + 3, row), colour, 1)
    if rng.random() < 0.2:
        start = rng.uniform(0.1, 0.9, 2) * (columns, rows)
        end = start + rng.uniform(-0.1, 0.1, 2) * (columns, rows)
        cv2.arrowedLine(grey, start.astype(int).tolist(), end.astype(int).tolist(), colour, 1)
    return np.asarray(grey, np.float32)


def _compressed(grey: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Compress as JPEG with a quality of 20 to 95, and decompress."""
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    quality = int(rng.uniform(20, 95))
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.float32)
