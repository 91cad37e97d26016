"""Accuracy of probabilities: overlap at each threshold, and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.scan.bit_field import has_label
from pleura.typing import AnyArray

LEVELS = 256
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
_BINS = 15
_UNCERTAIN = 0.02, 0.98


@dataclass(frozen=True, eq=False)
class ProbabilityHistogram:
    """Histogram of the probabilities of a case, of all pixels and of the lung's pixels.

    It determines the overlap at every threshold and the calibration, without the pixels.

    Parameters
    ----------
    pixels, lung:
        int64 (256,): number of pixels, and of pixels in the reference, by probability times 255.
    """

    pixels: NDArray[np.int64]
    lung: NDArray[np.int64]

    @classmethod
    def from_arrays(
        cls, probability: NDArray[np.uint8], reference: NDArray[np.bool_]
    ) -> ProbabilityHistogram:
        """Count a probability map (uint8, times 255) and a reference mask of the same shape."""
        pixels = np.bincount(probability.ravel(), minlength=LEVELS)
        lung = np.bincount(probability[reference], minlength=LEVELS)
        return cls(pixels.astype(np.int64), lung.astype(np.int64))

    def overlap(self, thresholds: Sequence[float] = THRESHOLDS) -> tuple[list[float], list[float]]:
        """Return IoU and Dice at each threshold; NaN where prediction and reference are empty."""
        levels = np.ceil(np.asarray(thresholds) * (LEVELS - 1)).astype(int)
        predicted = self.pixels[::-1].cumsum()[::-1][levels].astype(float)
        intersection = self.lung[::-1].cumsum()[::-1][levels].astype(float)
        total = predicted + self.lung.sum()
        with np.errstate(invalid="ignore"):
            ious, dices = intersection / (total - intersection), 2 * intersection / total
        return ious.tolist(), dices.tolist()


def any_class(maps: Sequence[NDArray[np.uint8]], overlap: bool = False) -> NDArray[np.uint8]:
    """Return the probability of any class: the sum of those of all classes, all times 255.

    Of classes that may overlap, it is the largest of them, which is a lower limit.
    """
    if len(maps) == 1:
        return maps[0]
    if overlap:
        return np.asarray(np.maximum.reduce(maps), np.uint8)
    total = np.sum(maps, 0, dtype=np.uint16)
    return np.minimum(total, LEVELS - 1).astype(np.uint8)


def class_histograms(
    maps: Sequence[NDArray[np.uint8]], labels: AnyArray, classes: Mapping[str, int]
) -> dict[str, ProbabilityHistogram]:
    """Return a histogram for each class, by name.

    Parameters
    ----------
    maps:
        Probability of each class, times 255.
    labels:
        The reference, of the same shape; a bit field of classes that may overlap.
    classes:
        Label by name of the classes, in the order of the maps; empty for lungs.
    """
    if not classes:
        return {}
    return {
        name: ProbabilityHistogram.from_arrays(probability, has_label(labels, label))
        for (name, label), probability in zip(classes.items(), maps, strict=True)
    }


@dataclass(frozen=True)
class Calibration:
    """Calibration curve: mean predicted probability and fraction of lung, by bin.

    Parameters
    ----------
    predicted, observed:
        Of each bin that has pixels: mean probability, and fraction of pixels that are lung.
    pixels:
        Number of pixels of each bin.
    expected_error:
        Expected calibration error over all pixels.
    uncertain_expected_error:
        The same over pixels with a probability between 0.02 and 0.98. A large background with
        probability 0 lowers ``expected_error``, not this.
    uncertain_fraction:
        Fraction of pixels with a probability between 0.02 and 0.98.

    References
    ----------
    Guo et al., On calibration of modern neural networks, ICML 2017.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    pixels: tuple[int, ...]
    expected_error: float
    uncertain_expected_error: float
    uncertain_fraction: float


def calibration_curve(cases: Sequence[ProbabilityHistogram]) -> Calibration:
    """Compute the calibration curve over the pixels of all cases, with 15 bins of equal width."""
    pixels = np.sum([case.pixels for case in cases], 0)
    lung = np.sum([case.lung for case in cases], 0)
    probability = np.arange(LEVELS) / (LEVELS - 1)
    uncertain = (probability > _UNCERTAIN[0]) & (probability < _UNCERTAIN[1])
    counts, predicted, observed = _binned(pixels, lung, probability)
    filled = counts > 0
    return Calibration(
        predicted=tuple(predicted[filled].tolist()),
        observed=tuple(observed[filled].tolist()),
        pixels=tuple(int(n) for n in counts[filled]),
        expected_error=_expected_error(counts, predicted, observed),
        uncertain_expected_error=_expected_error(
            *_binned(pixels * uncertain, lung * uncertain, probability)
        ),
        uncertain_fraction=float(pixels[uncertain].sum() / pixels.sum()),
    )


def _binned(
    pixels: NDArray[np.int64], lung: NDArray[np.int64], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of pixels, mean probability and fraction of lung of each bin."""
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    weights = (pixels.astype(float), lung.astype(float), pixels * probability)
    counts, inside, summed = (np.bincount(bins, w, _BINS).astype(float) for w in weights)
    divisor = np.maximum(counts, 1)
    return counts, summed / divisor, inside / divisor


def _expected_error(
    counts: NDArray[np.float64], predicted: NDArray[np.float64], observed: NDArray[np.float64]
) -> float:
    return float((counts * np.abs(predicted - observed)).sum() / max(counts.sum(), 1))
