"""Overlap metrics of two masks.

Both masks empty: IoU and Dice are 0/0. They are NaN then: a slice without lung that was rightly
left empty says nothing about the overlap of lungs, and must neither raise nor lower a mean.
Exactly one mask empty: 0.
"""

from __future__ import annotations

import numpy as np

from pleura.errors import DataError
from pleura.typing import AnyArray


def iou(reference: AnyArray, prediction: AnyArray) -> float:
    """Return intersection over union (Jaccard 1912) of two masks of one shape; non-zero is in.

    NaN where both are empty.

    Raises
    ------
    DataError
        The masks differ in shape.
    """
    intersection, total = _count(reference, prediction)
    union = total - intersection
    return intersection / union if union else float("nan")


def dice(reference: AnyArray, prediction: AnyArray) -> float:
    """Return the Dice coefficient (Dice 1945), 2 |A and B| / (|A| + |B|); NaN if both are empty.

    Raises
    ------
    DataError
        The masks differ in shape.
    """
    intersection, total = _count(reference, prediction)
    return 2 * intersection / total if total else float("nan")


def accuracy(reference: AnyArray, prediction: AnyArray) -> float:
    """Return the fraction of pixels in which two masks agree.

    Raises
    ------
    DataError
        The masks differ in shape.
    """
    _check_shapes(reference, prediction)
    return float(((reference != 0) == (prediction != 0)).mean())


def _count(reference: AnyArray, prediction: AnyArray) -> tuple[int, int]:
    _check_shapes(reference, prediction)
    intersection = np.count_nonzero((reference != 0) & (prediction != 0))
    return int(intersection), int(np.count_nonzero(reference) + np.count_nonzero(prediction))


def _check_shapes(reference: AnyArray, prediction: AnyArray) -> None:
    if reference.shape != prediction.shape:
        raise DataError(
            f"the masks differ in shape: {reference.shape} and {prediction.shape}",
            where=None,
            hint="bring both onto the same grid first",
        )
