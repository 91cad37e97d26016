"""Duplicates and near duplicates of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.opencv import cv2
from pleura.typing import AnyArray

NEAR_DUPLICATE_CORRELATION = 0.95
"""Correlation of two thumbnails above which images are near duplicates. Slices of one scan reach
0.96 at a distance of 9 mm and 0.99 at 3 mm; slices of 267 patients do not exceed 0.92."""


_THUMBNAIL_SIDE = 48
THUMBNAIL_PIXELS = _THUMBNAIL_SIDE**2

_BLOCK = 128
"""Thumbnails that are compared with all others in one matrix product."""


def pixel_hash(picture: NDArray[Any]) -> bytes:
    """Return a hash of the shape and the values of an image, independent of the dtype."""
    digest = hashlib.sha256(str(picture.shape).encode())
    digest.update((np.ascontiguousarray(picture, "<f8") + 0.0).data)  # adding 0.0 replaces -0.0
    return digest.digest()


def value_hash(picture: NDArray[Any]) -> bytes:
    """Return a hash of the values of an image, equal for its mirrored and rotated copies."""
    ordered = np.sort(picture, axis=None, kind="stable")
    return pixel_hash(ordered.reshape(sorted(picture.shape)))


def is_duplicate(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two images have the same pixels, also if mirrored or rotated by 90 degrees."""
    orientations = [np.rot90(one, k) for one in (first, first[:, ::-1]) for k in range(4)]
    return any(np.array_equal(one, second) for one in orientations)


def thumbnail(image: AnyArray) -> NDArray[np.float32]:
    """Return a normalised thumbnail, whose scalar product is the correlation of two images.

    Values are clipped to the 25th and 97th percentile, since padding and air are similar in all
    images.

    Parameters
    ----------
    image:
        (rows, columns), any dtype.

    Returns
    -------
    ndarray
        float32 (2304,), mean 0, norm 1.
    """
    small = _shrink(image.astype(np.float32), 128)
    small = _shrink(np.clip(small, *np.percentile(small, (25, 97))), _THUMBNAIL_SIDE).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def find_near_duplicates(
    thumbnails: NDArray[np.float32],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
    """Yield the near duplicates among thumbnails, in blocks.

    Parameters
    ----------
    thumbnails:
        float32 (n, 2304), see `thumbnail`. Rows of 0 have no near duplicates.

    Yields
    ------
    first, second:
        Rows of each two near duplicates, sorted; the first is lower than the second.
    correlation:
        Their correlations.
    """
    for start in range(0, len(thumbnails), _BLOCK):
        correlation = thumbnails[start : start + _BLOCK] @ thumbnails[start:].T
        first, second = np.nonzero(np.triu(correlation > NEAR_DUPLICATE_CORRELATION, 1))
        yield start + first, start + second, correlation[first, second]


def _shrink(picture: NDArray[np.floating], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)
