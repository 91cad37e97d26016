"""Report of scores: statistics, plots, and the cases with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import pleura
from pleura.evaluation.comparison import Comparison, outcomes_text
from pleura.evaluation.model import CaseArrays
from pleura.evaluation.scores import Outcome, Score
from pleura.evaluation.statistics import MetricSummary, agreement, interval_text
from pleura.figures.overlay import grey_range
from pleura.figures.preview import LUNG_WINDOW
from pleura.report.page import (
    Page,
    PageCase,
    PagePicture,
    histogram,
    iou_histogram,
    scatter_plot,
    slice_picture,
)
from pleura.scan.labels import LEFT

Facts = tuple[tuple[str, str], ...]

_COLUMNS = ("dice", "iou", "hd95", "surface_dice_2", "volume_difference", "largest_missed_area")
_FLAGS: dict[Outcome, str] = {
    "false_negative": "no lung was found",
    "false_positive": "lung was found where the reference has none",
    "true_negative": "no lung in either mask: not included in any mean",
}
_SIZES = {
    ("mm", 3): ("Volume", 1000.0, "ml"),
    ("mm", 2): ("Area", 100.0, "cm²"),
    ("px", 3): ("Volume", 1.0, "voxels"),
    ("px", 2): ("Area", 1.0, "pixels"),
}


def scores_page(
    title: str,
    comparison: Comparison,
    facts: Facts,
    pictures: Mapping[str, PagePicture],
    command: str = "",
    plots: Sequence[dict[str, Any]] = (),
) -> Page:
    """Return the report of a comparison, the case with the lowest IoU first.

    Parameters
    ----------
    title, facts:
        Title and first lines of the page.
    comparison:
        The scores.
    pictures:
        Pictures by case.
    command:
        The command line that wrote the report.
    plots:
        Further plots.
    """
    scores = [score for score in comparison.scores if score.region == "lungs"]
    scores.sort(key=lambda score: score.metrics.get("iou", 1.0))
    units = sorted({score.unit for score in scores})
    counts = comparison.outcome_counts()
    cases = f"{len(scores)} case{'s' * (len(scores) != 1)}"
    return Page(
        title=title,
        subtitle=f"{cases}: {outcomes_text(counts)}. Lengths in {' and '.join(units)}.",
        details=(
            *facts,
            ("patients", str(len({score.patient for score in scores}))),
            ("data fingerprint", comparison.fingerprint[:16]),
            ("pleura", pleura.__version__),
            *((("command", command),) if command else ()),
        ),
        columns=_COLUMNS,
        cases=tuple(_case(score, pictures.get(score.case)) for score in scores),
        warnings=_warnings(counts, units),
        summary=_summary(comparison),
        plots=(*_metric_plots(comparison.defined()), *plots),
    )


def worst_slice(arrays: CaseArrays) -> PagePicture:
    """Return the slice of a case where prediction and reference differ most, with contours."""
    prediction, reference = arrays.prediction, arrays.reference
    i = int(((prediction > 0) != (reference > 0)).sum((1, 2)).argmax())
    labels = prediction[i]
    masks = {
        "reference": reference[i] > 0,
        "right": (labels > 0) & (labels != LEFT),
        "left": labels == LEFT,
    }
    window = LUNG_WINDOW if arrays.calibrated else grey_range(arrays.image[i])
    return slice_picture(arrays.image[i], masks, window)


def _metric_plots(scores: Sequence[Score]) -> list[dict[str, Any]]:
    if not scores:
        return []
    plots = [
        iou_histogram([score.metrics["iou"] for score in scores]),
        histogram("Dice", [score.metrics["dice"] for score in scores]),
    ]
    if len({(score.unit, score.ndim) for score in scores}) == 1 and len(scores) > 1:
        plots.append(_bland_altman(scores))
    return plots


def _bland_altman(scores: Sequence[Score]) -> dict[str, Any]:
    name, scale, unit = _SIZES[scores[0].unit, scores[0].ndim]
    predicted = np.array([score.prediction_volume / scale for score in scores])
    reference = np.array([score.reference_volume / scale for score in scores])
    limits = agreement(reference.tolist(), predicted.tolist())
    levels = {"bias": limits.bias, "low": limits.lower_limit, "high": limits.upper_limit}
    bias, low, high = (f"{n:+.0f}" if abs(n) >= 100 else f"{n:+.3g}" for n in levels.values())
    mean, difference = (predicted + reference) / 2, predicted - reference
    return scatter_plot(
        f"{name}, prediction minus reference, by the mean of both (Bland-Altman): bias {bias}, "
        f"95 % limits of agreement {low} to {high} {unit}",
        list(zip(mean.tolist(), difference.tolist(), strict=True)),
        levels,
    )


def _case(score: Score, picture: PagePicture | None) -> PageCase:
    values = {name: score.metrics.get(name) for name in _COLUMNS}
    flag = _FLAGS.get(score.outcome)
    return PageCase(score.case, values, () if flag is None else (flag,), picture)


def _warnings(counts: Mapping[Outcome, int], units: Sequence[str]) -> tuple[str, ...]:
    warnings = [f"{counts[k]} of the cases: {text}" for k, text in _FLAGS.items() if counts[k]]
    if "px" in units:
        warnings.append("The spacing of some cases is unknown: their distances are in pixels.")
    return tuple(warnings)


def _summary(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    header = ["region, metric", "mean", "95 % CI", "SD", "median", "min", "max", "cases"]
    rows = [
        _row(f"{region}, {name}", metric)
        for region in comparison.regions
        for name, metric in comparison.summary(region).items()
    ]
    for group, part in comparison.by_group().items():
        summary = part.summary()
        rows += [_row(f"{group}: {n}", summary[n]) for n in ("dice", "hd95") if n in summary]
    return header, rows


def _row(name: str, metric: MetricSummary) -> list[Any]:
    interval = interval_text(metric.confidence_interval)
    values = metric.std, metric.median, metric.min, metric.max, metric.n_cases
    return [name, metric.mean, interval, *values]
