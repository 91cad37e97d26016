"""Numbers over cases and patients: means with intervals, and whether two models differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLINGS = 2000

Interval = tuple[float, float] | None
"""None where there is one patient: nobody knows then how others would do."""


def interval_text(interval: Interval, form: str = ".4g") -> str:
    """Say an interval in words."""
    return "one patient" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


@dataclass(frozen=True)
class Spread:
    """A metric over cases; the interval is a 95 % bootstrap of the mean over patients."""

    mean: float
    sd: float
    median: float
    worst: float
    interval: Interval
    cases: int
    patients: int


def spread(
    values: Sequence[float],
    patients: Sequence[str],
    worst: Callable[[Sequence[float]], float] = min,
) -> Spread:
    """Summarise one value a case; ``patients`` names each case's, who are what is resampled."""
    found = np.asarray(values, float)
    return Spread(
        mean=float(found.mean()),
        sd=float(found.std(ddof=1)) if len(found) > 1 else 0.0,
        median=float(np.median(found)),
        worst=float(worst(values)),
        interval=bootstrap(values, patients),
        cases=len(found),
        patients=len(set(patients)),
    )


def bootstrap(values: Sequence[float], patients: Sequence[str], seed: int = 0) -> Interval:
    """Return the 95 % percentile interval of the mean, whole patients drawn with replacement.

    After Efron, Tibshirani, "An Introduction to the Bootstrap" (1993). Slices of one patient are
    alike: drawing slices would make the interval too narrow.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(index, weights=np.asarray(values, float))
    counts = np.bincount(index)
    drawn = np.random.default_rng(seed).integers(0, len(names), (RESAMPLINGS, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Second less first of the same cases; ``p`` is Wilcoxon's signed-rank test over patients."""

    mean: float
    interval: Interval
    p: float


def paired(first: Sequence[float], second: Sequence[float], patients: Sequence[str]) -> Difference:
    """Compare two values of each case, such as those of two models.

    The test is on the patients' means (Wilcoxon 1945); without any difference p is 1.
    """
    from scipy.stats import wilcoxon

    change = np.asarray(second, float) - np.asarray(first, float)
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    means = np.bincount(index, weights=change) / np.bincount(index)
    p = float(wilcoxon(means).pvalue) if np.any(means) and len(names) > 1 else 1.0
    return Difference(float(change.mean()), bootstrap(change.tolist(), patients), p)


@dataclass(frozen=True)
class Agreement:
    """How two measurements of the same things agree (Bland, Altman, Lancet 1986).

    ``bias`` is the mean of second less first; ``low`` and ``high`` are the 95 % limits of
    agreement, bias -+ 1.96 SD; ``error`` is the mean absolute difference.
    """

    bias: float
    low: float
    high: float
    error: float
    cases: int


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Compare two measurements of each case, of two or more cases."""
    change = np.asarray(second, float) - np.asarray(first, float)
    bias, half = float(change.mean()), 1.96 * float(change.std(ddof=1))
    return Agreement(bias, bias - half, bias + half, float(np.abs(change).mean()), len(change))
