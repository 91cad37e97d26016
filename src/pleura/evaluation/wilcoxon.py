"""The signed-rank test of Wilcoxon.

References
----------
.. [1] F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1:80, 1945.
.. [2] W. J. Conover, "Practical Nonparametric Statistics", 3rd edition, 1999, section 5.7.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

MAX_EXACT = 50
"""Maximum number of nonzero differences for which the distribution is computed exactly."""


def wilcoxon(differences: ArrayLike) -> float:
    """Return the two-sided p-value of the signed-rank test [1]_.

    Zero differences are removed. Up to ``MAX_EXACT`` differences the distribution is exact, also
    with ties; beyond, it is approximated by a normal distribution with correction for ties [2]_.

    Parameters
    ----------
    differences:
        Differences of pairs, (n,).
    """
    values = np.asarray(differences, float)
    values = values[values != 0]
    if not len(values):
        return 1.0
    _, inverse, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    twice_ranks = (2 * np.cumsum(counts) - counts + 1)[inverse]  # ties have their mean rank
    total = int(twice_ranks.sum())
    positive = int(twice_ranks[values > 0].sum())
    if len(values) <= MAX_EXACT:
        return _exact(twice_ranks.tolist(), min(positive, total - positive))
    variance = float((twice_ranks.astype(float) ** 2).sum()) / 4
    return math.erfc(abs(positive - total / 2) / math.sqrt(2 * variance))


def _exact(twice_ranks: list[int], smaller: int) -> float:
    """Return twice the probability of a rank sum up to the smaller one of both signs."""
    ways = np.zeros(sum(twice_ranks) + 1)
    ways[0] = 1
    for rank in twice_ranks:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    return min(1.0, 2 * float(ways[: smaller + 1].sum()) / 2.0 ** len(twice_ranks))
