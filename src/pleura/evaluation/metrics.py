"""Overlap metrics of two masks.

IoU and Dice of two empty masks are 0/0 and returned as NaN, so that a slice without lung that is
correctly predicted as empty does not change a mean. If exactly one mask is empty, they are 0.
"""

from __future__ import annotations

import numpy as np

from pleura.errors import DataError
from pleura.typing import AnyArray


def iou(reference: AnyArray, prediction: AnyArray) -> float:
    """Compute the intersection over union (Jaccard index) of two masks.

    Parameters
    ----------
    reference, prediction:
        Masks of one shape; non-zero is foreground.

    Returns
    -------
    float
        From 0 to 1; NaN if both masks are empty.

    Raises
    ------
    DataError
        The masks differ in shape.

    References
    ----------
    Jaccard, The distribution of the flora in the alpine zone, New Phytologist 1912.

    Examples
    --------
    >>> import numpy as np
    >>> round(iou(np.array([0, 1, 1]), np.array([1, 1, 0])), 3)
    0.333
    """
    intersection, total = _count(reference, prediction)
    union = total - intersection
    return intersection / union if union else float("nan")


def dice(reference: AnyArray, prediction: AnyArray) -> float:
    """Compute the Dice coefficient of two masks: ``2 |A ∩ B| / (|A| + |B|)``.

    Parameters
    ----------
    reference, prediction:
        Masks of one shape; non-zero is foreground.

    Returns
    -------
    float
        From 0 to 1; NaN if both masks are empty.

    Raises
    ------
    DataError
        The masks differ in shape.

    References
    ----------
    Dice, Measures of the amount of ecologic association between species, Ecology 1945.

    Examples
    --------
    >>> import numpy as np
    >>> dice(np.array([0, 1, 1]), np.array([1, 1, 0]))
    0.5
    """
    intersection, total = _count(reference, prediction)
    return 2 * intersection / total if total else float("nan")


def accuracy(reference: AnyArray, prediction: AnyArray) -> float:
    """Compute the fraction of pixels in which two masks agree.

    Parameters
    ----------
    reference, prediction:
        Masks of one shape; non-zero is foreground.

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
            hint="resample both masks to the same grid",
        )
