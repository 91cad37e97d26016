"""The choice of a threshold on validation images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pleura.engine.classes import choose_classes
from pleura.scan.bit_field import has_label
from pleura.scan.labels import Label, class_labels
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


def best_class_thresholds(
    cases: Iterable[tuple[FloatArray, NDArray[np.uint8]]], classes: Sequence[Label]
) -> dict[str, float]:
    """Choose the threshold of each class with the highest mean IoU, while the others are 0.5.

    Parameters
    ----------
    cases:
        Probabilities (classes, rows, columns) and class indices (rows, columns) of each image.
    classes:
        The classes.

    Returns
    -------
    dict
        Threshold by name, from 0.10, 0.15, ..., 0.90: the highest mean over all classes of their
        mean IoU over images; of several, the one nearest to 0.5.
    """
    tables = [_class_ious(probability, mask, classes) for probability, mask in cases]
    ious = np.array(tables)  # (cases, tuned class, candidate, class)
    defined = np.isfinite(ious)
    means = np.where(defined, ious, 0).sum(0) / np.maximum(defined.sum(0), 1)
    scores = means.mean(-1)
    chosen = {}
    for label, row in zip(classes, scores, strict=True):
        best = np.flatnonzero(np.isclose(row, row.max(), rtol=0, atol=1e-12))
        chosen[label.name] = min((CANDIDATES[i] for i in best), key=lambda c: abs(c - 0.5))
    return chosen


def _class_ious(
    probability: FloatArray, mask: NDArray[np.uint8], classes: Sequence[Label]
) -> NDArray[np.float64]:
    """Return the IoU of each class, for each class that is tuned and each candidate."""
    values = class_labels(classes).values()
    ious = np.full((len(classes), len(CANDIDATES), len(classes)), np.nan)
    for tuned in range(len(classes)):
        for j, candidate in enumerate(CANDIDATES):
            labels = [replace(c, threshold=0.5) for c in classes]
            labels[tuned] = replace(labels[tuned], threshold=candidate)
            found = choose_classes(probability, labels)
            for i, label in enumerate(values):
                predicted, inside = has_label(found, label), has_label(mask, label)
                if union := np.count_nonzero(predicted | inside):
                    ious[tuned, j, i] = np.count_nonzero(predicted & inside) / union
    return ious


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
