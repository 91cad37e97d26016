"""Images that are the same, or nearly, as slices of one scan are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.typing import AnyArray

NEAR_DUPLICATE_CORRELATION = 0.95
"""Correlation of two thumbnails from which on images are nearly the same. Slices of one scan reach
0.96 at 9 mm and 0.99 at 3 mm; of slices of 267 patients no two exceed 0.92."""


def pixel_hash(picture: NDArray[Any]) -> bytes:
    """Hash the values of a picture and its shape; equal values of another dtype hash alike."""
    digest = hashlib.sha256(str(picture.shape).encode())
    digest.update((np.ascontiguousarray(picture, "<f8") + 0.0).data)  # 0.0: -0 is 0
    return digest.digest()


def value_hash(picture: NDArray[Any]) -> bytes:
    """Hash what a picture (rows, columns) and its mirrored and rotated copies share."""
    ordered = np.sort(picture, axis=None, kind="stable")
    return pixel_hash(ordered.reshape(sorted(picture.shape)))


def is_duplicate(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two pictures have the same pixels, also mirrored or rotated by 90 degrees."""
    turned = [np.rot90(one, k) for one in (first, first[:, ::-1]) for k in range(4)]
    return any(np.array_equal(one, second) for one in turned)


def thumbnail(image: AnyArray) -> NDArray[np.float32]:
    """Return (2304,) values of a picture made small, of mean 0 and length 1.

    Between the 25th and 97th percentile: padding and air are alike in all pictures.
    """
    small = _small(image.astype(np.float32), 128)
    small = _small(np.clip(small, *np.percentile(small, (25, 97))), 48).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def find_near_duplicates(thumbnails: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Yield the positions of each two that are nearly the same."""
    if not thumbnails:
        return
    table = np.stack(thumbnails)
    for i in range(len(table) - 1):
        for j in np.flatnonzero(table[i + 1 :] @ table[i] > NEAR_DUPLICATE_CORRELATION):
            yield i, i + 1 + int(j)


def _small(picture: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)
