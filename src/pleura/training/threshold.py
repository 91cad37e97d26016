"""The threshold of the best mean IoU, to be chosen on validation images only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.typing import FloatArray

CANDIDATES = np.round(np.arange(0.1, 0.91, 0.05), 2)


def best_threshold(cases: Iterable[tuple[FloatArray, NDArray[np.uint8]]]) -> float:
    """Return the candidate (0.10 to 0.90 in steps of 0.05) with the highest mean IoU.

    A case is a probability map and its reference, both (rows, columns). Where reference and
    prediction are empty the IoU is undefined and left out. Of equals, the one nearest to 0.5 wins.
    """
    scores = np.array([_ious(*case) for case in cases])
    means = np.nansum(scores, 0) / np.maximum(np.isfinite(scores).sum(0), 1)
    best = np.flatnonzero(np.isclose(means, means.max(), rtol=0, atol=1e-12))
    return float(min(CANDIDATES[best], key=lambda candidate: abs(candidate - 0.5)))


def _ious(probability: FloatArray, reference: NDArray[np.uint8]) -> NDArray[np.float64]:
    inside = reference != 0
    found = [probability >= candidate for candidate in CANDIDATES]
    union = np.array([np.count_nonzero(f | inside) for f in found], float)
    overlap = np.array([np.count_nonzero(f & inside) for f in found], float)
    result: NDArray[np.float64] = np.divide(
        overlap, union, out=np.full(len(union), np.nan), where=union > 0
    )
    return result
