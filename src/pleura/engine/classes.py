"""The choice of a class from the probabilities of several classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.scan.bit_field import stack_bits
from pleura.scan.labels import Label, may_overlap
from pleura.typing import AnyArray

UINT8_ONE = 255
"""Probability 1 in an array of uint8."""


def choose_labels(probability: AnyArray, labels: Sequence[Label]) -> NDArray[np.uint8]:
    """Return the label value of each voxel: the class with the largest weighted probability.

    The weight of background is 1, and that of a class with threshold t is (1 - t) / t. So a voxel
    that is either background or of this class gets the class from a probability of t, and with all
    thresholds at 0.5 each voxel gets its most probable class.

    Parameters
    ----------
    probability:
        (classes, ...): probabilities of the classes without background, float in [0, 1], or uint8
        times 255.
    labels:
        The classes, in the same order. Of classes that may overlap, the result is the bit field of
        those with a probability from their threshold.
    """
    return class_values(choose_classes(probability, labels), labels)


def choose_classes(probability: AnyArray, labels: Sequence[Label]) -> NDArray[np.uint8]:
    """Return the class index of each voxel, as `choose_labels`; 0 is background."""
    if may_overlap(labels):
        one = UINT8_ONE if probability.dtype == np.uint8 else 1
        layers = (p >= label.threshold * one for p, label in zip(probability, labels, strict=True))
        return stack_bits(layers, len(labels))
    one = UINT8_ONE if probability.dtype == np.uint8 else 1
    background = one - probability.sum(0, dtype=np.float32)
    best = np.zeros(probability.shape[1:], np.float32)
    chosen = np.zeros(probability.shape[1:], np.uint8)
    for i, (label, values) in enumerate(zip(labels, probability, strict=True)):
        weighted = values * np.float32((1 - label.threshold) / label.threshold)
        better = weighted > best
        best[better], chosen[better] = weighted[better], i + 1
    chosen[best < background] = 0
    return chosen


def class_values(indices: NDArray[np.uint8], labels: Sequence[Label]) -> NDArray[np.uint8]:
    """Replace class indices by the values of the labels; a bit field is unchanged."""
    if may_overlap(labels):
        return indices
    return np.array([0, *(label.value for label in labels)], np.uint8)[indices]
