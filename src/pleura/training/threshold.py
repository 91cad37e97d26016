"""The choice of a threshold on validation images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.typing import FloatArray

CANDIDATES = tuple(round(0.05 * i, 2) for i in range(2, 19))


def best_threshold(cases: Iterable[tuple[FloatArray, NDArray[np.uint8]]]) -> float:
    """Choose the threshold with the highest mean IoU, from 0.10, 0.15, ..., 0.90.

    Parameters
    ----------
    cases:
        Probability map and reference mask of each image, both (rows, columns).

    Returns
    -------
    float
        The threshold; of several with the same mean IoU, the one nearest to 0.5. Cases whose
        reference and prediction are both empty are excluded from the mean.
    """
    scores = np.array([_iou_per_candidate(*case) for case in cases])
    means = np.nansum(scores, 0) / np.maximum(np.isfinite(scores).sum(0), 1)
    best = np.flatnonzero(np.isclose(means, means.max(), rtol=0, atol=1e-12))
    return min((CANDIDATES[i] for i in best), key=lambda candidate: abs(candidate - 0.5))


def _iou_per_candidate(
    probability: FloatArray, reference: NDArray[np.uint8]
) -> NDArray[np.float64]:
    inside = reference != 0
    predictions = [probability >= candidate for candidate in CANDIDATES]
    union = np.array([np.count_nonzero(p | inside) for p in predictions], float)
    intersection = np.array([np.count_nonzero(p & inside) for p in predictions], float)
    undefined = np.full(len(union), np.nan)
    ious: NDArray[np.float64] = np.divide(intersection, union, out=undefined, where=union > 0)
    return ious
