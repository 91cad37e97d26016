"""Images that are nearly the same, as slices of one scan are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.scan.pictures import Picture

ALIKE = 0.95
"""Correlation of two thumbnails from which on images are nearly the same. Slices of one scan reach
0.96 at 9 mm and 0.99 at 3 mm; of slices of 267 patients no two exceed 0.92."""


def thumbnail(image: Picture) -> NDArray[np.float32]:
    """Return (2304,) values of a picture made small, of mean 0 and length 1.

    Between the 25th and 97th percentile: padding and air are alike in all pictures.
    """
    small = _small(image.astype(np.float32), 128)
    small = _small(np.clip(small, *np.percentile(small, (25, 97))), 48).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def nearly_the_same(thumbnails: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Yield the positions of each two that are nearly the same."""
    if not thumbnails:
        return
    table = np.stack(thumbnails)
    for i in range(len(table) - 1):
        for j in np.flatnonzero(table[i + 1 :] @ table[i] > ALIKE):
            yield i, i + 1 + int(j)


def _small(picture: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)
