"""Statistics over cases and patients: summaries, bootstrap intervals, tests and agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pleura.evaluation.wilcoxon import wilcoxon

N_RESAMPLES = 2000

_MAX_RESAMPLED = 1 << 17
"""Patients of all resamples in memory at a time, in a block that fits into the cache of a CPU."""

Interval = tuple[float, float]


def interval_text(interval: Interval | None, form: str = ".4g") -> str:
    """Return an interval as text, such as ``0.966 to 0.979``."""
    return "one patient" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


@dataclass(frozen=True)
class MetricSummary:
    """Statistics of one metric over cases.

    Parameters
    ----------
    mean, std, median, min, max:
        Statistics of the values; ``std`` is the sample standard deviation, 0 for one case.
    confidence_interval:
        95 % bootstrap interval of the mean over patients; None if there is only one patient.
    n_cases, n_patients:
        Number of cases and patients.
    """

    mean: float
    std: float
    median: float
    min: float
    max: float
    confidence_interval: Interval | None
    n_cases: int
    n_patients: int


def summarise(values: Sequence[float], patients: Sequence[str]) -> MetricSummary:
    """Summarise one value per case.

    Parameters
    ----------
    values:
        One finite value per case, at least one.
    patients:
        The patient of each case.
    """
    array = np.asarray(values, float)
    return MetricSummary(
        mean=float(array.mean()),
        std=float(array.std(ddof=1)) if len(array) > 1 else 0.0,
        median=float(np.median(array)),
        min=float(array.min()),
        max=float(array.max()),
        confidence_interval=bootstrap_interval(values, patients),
        n_cases=len(array),
        n_patients=len(set(patients)),
    )


def bootstrap_interval(
    values: Sequence[float],
    patients: Sequence[str],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of the mean, resampling whole patients.

    Slices of one patient are correlated: resampling slices would make the interval too narrow.

    Parameters
    ----------
    values:
        One value per case; NaN values are left out of each resample's mean.
    patients:
        The patient of each case.
    n_resamples, seed:
        Number of resamples, and seed of the random generator.

    Returns
    -------
    tuple of float or None
        Lower and upper limit; None if there is only one patient.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        return None
    array = np.asarray(values, float)
    defined = np.isfinite(array)
    sums = np.bincount(index, weights=np.where(defined, array, 0))
    counts = np.bincount(index, weights=defined)
    rng, means = np.random.default_rng(seed), np.empty(n_resamples)
    rows = max(1, _MAX_RESAMPLED // len(names))
    for start in range(0, n_resamples, rows):
        block = means[start : start + rows]
        resamples = rng.integers(0, len(names), (len(block), len(names)))
        with np.errstate(invalid="ignore"):
            block[:] = sums[resamples].sum(1) / counts[resamples].sum(1)
    low, high = np.nanpercentile(means, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Paired difference of one metric between two models: second minus first.

    Parameters
    ----------
    mean:
        Mean difference over cases.
    confidence_interval:
        95 % bootstrap interval of the mean over patients; None if there is only one patient.
    p_value:
        P value of Wilcoxon's signed-rank test on the patients' means.
    """

    mean: float
    confidence_interval: Interval | None
    p_value: float


def paired_difference(
    first: Sequence[float], second: Sequence[float], patients: Sequence[str]
) -> Difference:
    """Compare two values per case, such as those of two models.

    Parameters
    ----------
    first, second:
        One value per case of each model.
    patients:
        The patient of each case.

    References
    ----------
    Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1945.
    """
    change = np.asarray(second, float) - np.asarray(first, float)
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    means = np.bincount(index, weights=change) / np.bincount(index)
    p_value = wilcoxon(means) if np.any(means) and len(names) > 1 else 1.0
    interval = bootstrap_interval(change.tolist(), patients)
    return Difference(float(change.mean()), interval, p_value)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two measurements of the same cases.

    Parameters
    ----------
    bias:
        Mean of second minus first.
    lower_limit, upper_limit:
        95 % limits of agreement, bias -+ 1.96 SD.
    mean_absolute_difference:
        Mean of the absolute differences.
    n_cases:
        Number of cases.

    References
    ----------
    Bland and Altman, Statistical methods for assessing agreement between two methods of clinical
    measurement, Lancet 1986.
    """

    bias: float
    lower_limit: float
    upper_limit: float
    mean_absolute_difference: float
    n_cases: int


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Compute the agreement of two measurements per case, of two or more cases."""
    change = np.asarray(second, float) - np.asarray(first, float)
    bias, half = float(change.mean()), 1.96 * float(change.std(ddof=1))
    error = float(np.abs(change).mean())
    return Agreement(bias, bias - half, bias + half, error, len(change))
