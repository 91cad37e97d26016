"""Scores of one case: the metrics of a prediction against its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pleura.evaluation.cases import Case
from pleura.evaluation.metrics import accuracy, dice, iou
from pleura.evaluation.surface import distance_metrics, largest_missed_area
from pleura.scan.bit_field import has_label
from pleura.scan.labels import LEFT, RIGHT
from pleura.typing import BoolArray

Outcome = Literal["true_positive", "true_negative", "false_negative", "false_positive"]
"""Whether prediction and reference have any voxel in the region."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

LUNGS, ALL_LABELS = "lungs", "all labels"
"""Region of both lungs, and of all classes together."""

_ZERO_IF_PERFECT = (
    "hd",
    "hd95",
    "assd",
    "largest_missed_area",
    "volume_error",
    "volume_difference",
)


@dataclass(frozen=True)
class Score:
    """Metrics of one region of one case.

    Parameters
    ----------
    case, patient, group:
        Names of the case, its patient and its group; ``group`` is None without groups.
    region:
        ``lungs``, ``right`` or ``left``; of several classes ``all labels``, or the name of one.
    outcome:
        ``true_positive``: both masks have lung. ``true_negative``: neither has, so that no metric
        is defined. ``false_negative`` and ``false_positive``: only the reference, or only the
        prediction, has lung: overlaps are 0 and distances the diagonal of the grid.
    metrics:
        Value by name of the metric; empty for a true negative.
    unit:
        Unit of length: ``mm``, or ``px`` if the spacing is unknown.
    ndim:
        3, or 2 for a single slice, whose volumes are areas.
    prediction_volume, reference_volume:
        In mm3 or voxels.
    """

    case: str
    patient: str
    group: str | None
    region: str
    outcome: Outcome
    metrics: Mapping[str, float] = field(default_factory=dict)
    unit: str = "px"
    ndim: int = 3
    prediction_volume: float = 0.0
    reference_volume: float = 0.0


def score_masks(
    case: Case,
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing: Sequence[float] | None,
    classes: Mapping[str, int] | None = None,
) -> list[Score]:
    """Compute all metrics of a prediction, for both lungs and, where possible, each lung.

    With ``classes``, for all labels together and for each class.

    Parameters
    ----------
    case:
        The case that the masks belong to.
    prediction, reference:
        Labels (slices, rows, columns): 1 right and 2 left lung, or 1 both. Right and left are
        scored if both masks distinguish them. Of classes that may overlap, bit fields.
    spacing:
        Distance in mm between voxel centres along each axis; None if unknown.
    classes:
        Label by name of several classes; empty or None for lungs.

    Returns
    -------
    list of Score
        Both lungs, then right and left; or all labels, then each class.
    """
    parts = classes or {}
    if not classes and _have_sides(prediction, reference):
        parts = {"right": RIGHT, "left": LEFT}
    regions = {ALL_LABELS if classes else LUNGS: (prediction > 0, reference > 0)}
    regions |= {
        name: (has_label(prediction, i), has_label(reference, i)) for name, i in parts.items()
    }
    return [_score(case, region, *masks, spacing) for region, masks in regions.items()]


def score_overlap(
    case: Case, prediction: BoolArray, reference: BoolArray, region: str = LUNGS
) -> Score:
    """Compute IoU and Dice alone, of two masks of one shape."""
    result = outcome(prediction, reference)
    metrics = {}
    if result != "true_negative":
        metrics = {"iou": iou(reference, prediction), "dice": dice(reference, prediction)}
    names = case.name, case.patient, case.group
    return Score(*names, region, result, metrics, ndim=prediction.ndim)


def outcome(prediction: BoolArray, reference: BoolArray) -> Outcome:
    """Return whether prediction and reference have any lung."""
    if prediction.any():
        return "true_positive" if reference.any() else "false_positive"
    return "false_negative" if reference.any() else "true_negative"


def perfect_value(metric: str) -> float:
    """Return the value of a metric for a prediction that equals its reference."""
    return 0.0 if metric in _ZERO_IF_PERFECT else 1.0


def _have_sides(prediction: NDArray[Any], reference: NDArray[Any]) -> bool:
    """Return whether both masks have sides; a prediction of one label over both has none."""
    if not {RIGHT, LEFT} <= set(np.unique(reference)):
        return False
    labels = set(np.unique(prediction))
    if (
        RIGHT in labels
        and LEFT not in labels
        and (prediction[reference == LEFT] == RIGHT).mean() > 0.5
    ):
        return False
    return labels <= {0, RIGHT, LEFT}


def _score(
    case: Case,
    region: str,
    prediction: BoolArray,
    reference: BoolArray,
    spacing: Sequence[float] | None,
) -> Score:
    names = case.name, case.patient, case.group
    result = outcome(prediction, reference)
    unit = "px" if spacing is None else "mm"
    ndim = 2 if len(reference) == 1 else 3
    if result == "true_negative":
        return Score(*names, region, result, unit=unit, ndim=ndim)
    steps = (1.0, 1.0, 1.0) if spacing is None else tuple(spacing)
    if ndim == 2:
        prediction, reference, steps = prediction[0], reference[0], steps[1:]
    intersection, predicted, expected = (
        int(np.count_nonzero(mask)) for mask in (prediction & reference, prediction, reference)
    )
    voxel = float(np.prod(steps))
    metrics = {
        "dice": dice(reference, prediction),
        "iou": iou(reference, prediction),
        "precision": intersection / predicted if predicted else 0.0,
        "recall": intersection / expected if expected else 0.0,
        "accuracy": accuracy(reference, prediction),
        **distance_metrics(reference, prediction, steps),
        "volume_difference": (predicted - expected) * voxel,
        "volume_error": abs(predicted - expected) * voxel,
        "largest_missed_area": largest_missed_area(reference, prediction, steps),
    }
    return Score(*names, region, result, metrics, unit, ndim, predicted * voxel, expected * voxel)
