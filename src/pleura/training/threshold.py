"""The threshold of the best mean IoU, to be chosen on validation images only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.preparation import FloatImage

CANDIDATES = np.round(np.arange(0.1, 0.91, 0.05), 2)


def best_threshold(probability: FloatImage, reference: NDArray[np.bool_]) -> float:
    """Return the candidate (0.10 to 0.90 in steps of 0.05) with the highest mean IoU.

    Both arrays are (n, rows, columns); images without lung in both are left out of a mean. Of
    equals, the one nearest to 0.5 wins.
    """
    means = []
    for threshold in CANDIDATES:
        found = probability >= threshold
        union = (found | reference).sum((1, 2))
        overlap = (found & reference).sum((1, 2))
        means.append((overlap[union > 0] / union[union > 0]).mean() if union.any() else 0.0)
    best = np.flatnonzero(np.isclose(means, max(means), rtol=0, atol=1e-12))
    return float(min(CANDIDATES[best], key=lambda t: abs(t - 0.5)))
