"""Probabilities held against references: at every threshold, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
_BINS = 15
_IN_DOUBT = 0.02, 0.98


@dataclass(frozen=True)
class LevelCounts:
    """How many pixels have each probability (of 255), and how many of these are lung.

    Enough to tell every overlap at every threshold and the calibration, without the pixels.
    """

    pixels: NDArray[np.int64]  # (256,)
    lung: NDArray[np.int64]  # (256,)

    @classmethod
    def of(cls, probability: NDArray[np.uint8], reference: NDArray[np.bool_]) -> LevelCounts:
        """Count a probability (times 255) and a reference of the same shape."""
        pixels = np.bincount(probability.ravel(), minlength=LEVELS)
        lung = np.bincount(probability[reference], minlength=LEVELS)
        return cls(pixels.astype(np.int64), lung.astype(np.int64))

    def overlap(self, thresholds: Sequence[float] = THRESHOLDS) -> tuple[list[float], list[float]]:
        """Return IoU and Dice of what is at least each threshold; NaN where nothing is lung."""
        levels = np.ceil(np.asarray(thresholds) * (LEVELS - 1)).astype(int)
        found = self.pixels[::-1].cumsum()[::-1][levels].astype(float)
        both = self.lung[::-1].cumsum()[::-1][levels].astype(float)
        total = found + self.lung.sum()
        with np.errstate(invalid="ignore"):
            return (both / (total - both)).tolist(), (2 * both / total).tolist()


@dataclass(frozen=True)
class Calibration:
    """The reliability curve: in each bin of probability, its mean and the share that is lung.

    ``error`` is the expected calibration error (Guo 2017) over all pixels; ``error_in_doubt`` that
    over the pixels between 0.02 and 0.98, which the sure background cannot flatter, and
    ``in_doubt`` their share.
    """

    probability: tuple[float, ...]
    lung: tuple[float, ...]
    pixels: tuple[int, ...]
    error: float
    error_in_doubt: float
    in_doubt: float


def calibration(cases: Sequence[LevelCounts]) -> Calibration:
    """Return the calibration over the pixels of all cases."""
    pixels = np.sum([case.pixels for case in cases], 0)
    lung = np.sum([case.lung for case in cases], 0)
    value = np.arange(LEVELS) / (LEVELS - 1)
    bins = np.minimum((value * _BINS).astype(int), _BINS - 1)
    doubt = (value > _IN_DOUBT[0]) & (value < _IN_DOUBT[1])
    counted, mean, share = _binned(pixels, lung, value, bins)
    filled = counted > 0
    return Calibration(
        probability=tuple(mean[filled].tolist()),
        lung=tuple(share[filled].tolist()),
        pixels=tuple(int(n) for n in counted[filled]),
        error=_error(counted, mean, share),
        error_in_doubt=_error(*_binned(pixels * doubt, lung * doubt, value, bins)),
        in_doubt=float(pixels[doubt].sum() / pixels.sum()),
    )


def _binned(
    pixels: NDArray[np.int64],
    lung: NDArray[np.int64],
    value: NDArray[np.float64],
    bins: NDArray[np.int_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return of each bin: pixels, their mean probability, the share of lung."""
    weights = (pixels.astype(float), lung.astype(float), pixels * value)
    counted, inside, summed = (np.bincount(bins, w, _BINS).astype(float) for w in weights)
    full = np.maximum(counted, 1)
    return counted, summed / full, inside / full


def _error(
    counted: NDArray[np.float64], mean: NDArray[np.float64], share: NDArray[np.float64]
) -> float:
    return float((counted * np.abs(mean - share)).sum() / max(counted.sum(), 1))
