"""Masks that fit their image better after a flip, a rotation or a transposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.opencv import cv2
from pleura.typing import AnyArray, BoolArray, FloatArray

ORIENTATIONS = (
    ("no change", "mask"),
    ("a horizontal flip", "mask[:, ::-1]"),
    ("a vertical flip", "mask[::-1]"),
    ("a rotation by 180 degrees", "mask[::-1, ::-1]"),
    ("a transposition", "mask.T"),
    ("a clockwise rotation by 90 degrees", "mask.T[:, ::-1]"),
    ("a counter-clockwise rotation by 90 degrees", "mask.T[::-1]"),
    ("a transposition about the other diagonal", "mask.T[::-1, ::-1]"),
)
"""The eight orientations of a mask: in words, and as an expression of NumPy."""

MIN_FIT = 0.6
"""Fit of a mask that outlines the lung."""
MIN_GAIN = 0.1
"""Gain in fit by which another orientation is better. In 602 pairs of four data sets, the fit of
each other orientation is lower than that of the stored one, by 0.07 or more."""

_SIDE = 128


def measure_orientation_fits(image: AnyArray, mask: NDArray[np.uint8]) -> FloatArray:
    """Measure how well each orientation of a mask separates dark from bright pixels.

    Parameters
    ----------
    image, mask:
        (rows, columns), in any units; the mask has the values 0 and 1.

    Returns
    -------
    ndarray
        float32 (8,), in the order of `ORIENTATIONS`: the correlation between the outside of the
        mask and the image, in the mask and a narrow border; 0 for an orientation of another shape.
    """
    size = _SIDE, _SIDE
    small = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    limits = np.percentile(small, (5, 97))
    clipped = np.clip(small, *limits).astype(np.float32)
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    region = np.asarray(cv2.dilate(inside.astype(np.uint8), disk)) > 0
    fits = np.zeros(len(ORIENTATIONS), np.float32)
    for i, orientation in enumerate(product((False, True), repeat=3)):
        if not orientation[0] or image.shape[0] == image.shape[1]:
            near = _reorient(region, *orientation)
            fits[i] = _correlation(~_reorient(inside, *orientation)[near], clipped[near])
    return fits


def find_misoriented(fits: Sequence[FloatArray]) -> Iterator[tuple[int, list[int]]]:
    """Yield another orientation, as index of `ORIENTATIONS`, and the masks that it fits better.

    Parameters
    ----------
    fits:
        The fits of each mask (see `measure_orientation_fits`).
    """
    if not fits:
        return
    table = np.stack(fits)
    means = table.mean(0)
    table *= np.sign(means[np.abs(means).argmax()])  # negative if air is bright or masks inverted
    best = table.argmax(1)
    highest = table.max(1)
    is_better = (highest >= MIN_FIT) & (highest - table[:, 0] >= MIN_GAIN)
    for orientation in range(1, len(ORIENTATIONS)):
        if (found := np.flatnonzero(is_better & (best == orientation))).size:
            yield orientation, found.tolist()


def _reorient(mask: BoolArray, transpose: bool, flip_rows: bool, flip_columns: bool) -> BoolArray:
    result = mask.T if transpose else mask
    return result[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _correlation(first: BoolArray, second: FloatArray) -> float:
    """Return the correlation of two arrays; 0 if one of them is constant."""
    if first.all() or not first.any() or second.min() == second.max():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
