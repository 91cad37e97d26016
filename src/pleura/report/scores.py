"""Report of scores: statistics, plots, and the cases with their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

import pleura
from pleura.evaluation.comparison import Comparison, noun_of, outcomes_text
from pleura.evaluation.descriptions import METRICS, DisplayUnit, display_unit
from pleura.evaluation.model import CaseArrays
from pleura.evaluation.scores import ALL_LABELS, Outcome, Score
from pleura.evaluation.statistics import MetricSummary, agreement
from pleura.figures.overlay import grey_range
from pleura.figures.palette import describe_label_colours, label_kind
from pleura.figures.preview import LUNG_WINDOW
from pleura.report.images import PageImage, slice_image
from pleura.report.page import (
    Column,
    Notice,
    Page,
    PageCase,
    PageFlag,
    Statistics,
    Tile,
    details_of,
)
from pleura.report.plots import Plot, histogram, iou_histogram, scatter_plot
from pleura.scan.bit_field import has_label
from pleura.scan.labels import LEFT

Facts = tuple[tuple[str, str], ...]

_COLUMNS = ("iou", "dice", "hd95", "surface_dice_2", "volume_difference", "largest_missed_area")
_FLAGS: dict[Outcome, tuple[str, str]] = {
    "false_negative": ("Lung missed", "no lung was found, and the reference has lung"),
    "false_positive": ("No lung in the reference", "lung was found, and the reference has none"),
    "true_negative": ("No lung", "neither mask has lung: the case is in no mean"),
}
_FLAGS_OF_CLASSES: dict[Outcome, tuple[str, str]] = {
    "false_negative": ("All labels missed", "nothing was found, and the reference has labels"),
    "false_positive": ("Empty reference", "labels were found, and the reference has none"),
    "true_negative": ("No label", "neither mask has a label: the case is in no mean"),
}
_NO_SPACING = PageFlag("Unknown pixel size", "distances are in pixels, and sizes in voxels")
_REGIONS = {"lungs": "both lungs", "right": "the right lung", "left": "the left lung"}
_STATISTICS = ("Mean", "95 % CI of the mean", "SD", "Median", "Minimum", "Maximum", "Cases")
_BY_GROUP = ("dice", "hd95")
_HEADLINES = ("dice", "iou", "hd95", "surface_dice_2")


def scores_page(
    title: str,
    comparison: Comparison,
    facts: Facts,
    images: Mapping[str, PageImage],
    command: str = "",
    plots: Sequence[Plot] = (),
) -> Page:
    """Return the report of a comparison, the case with the lowest IoU first.

    Parameters
    ----------
    title, facts:
        Title and first lines of the page.
    comparison:
        The scores.
    images:
        Images by case.
    command:
        The command line that wrote the report.
    plots:
        Further plots.
    """
    scores = [score for score in comparison.scores if score.region == comparison.main_region]
    scores.sort(key=lambda score: score.metrics.get("iou", 1.0))
    counts = comparison.outcome_counts()
    cases = f"{len(scores):,} case{'s' * (len(scores) != 1)}"
    return Page(
        title=title,
        subtitle=f"{cases}: {outcomes_text(counts, comparison.main_region)}.",
        details=details_of(
            *facts,
            ("Data fingerprint", comparison.fingerprint[:16]),
            *_colours(comparison),
            ("Version of pleura", pleura.__version__),
            ("Command", command),
        ),
        columns=(*(_column(name, scores) for name in _COLUMNS), *_class_columns(comparison)),
        cases=tuple(
            _with_classes(_case(score, scores, images.get(score.case)), comparison)
            for score in scores
        ),
        tiles=_tiles(comparison, scores),
        notices=_notices(counts, scores),
        statistics=_statistics(comparison),
        plots=(*_metric_plots(comparison.defined()), *plots),
    )


def worst_slice(arrays: CaseArrays) -> PageImage:
    """Return the slice of a case where prediction and reference differ most, with contours."""
    prediction, reference = arrays.prediction, arrays.reference
    if arrays.classes:
        i = int((prediction != reference).sum((1, 2)).argmax())
        masks = [("reference", has_label(reference[i], v)) for v in arrays.classes.values()]
        masks += [
            (label_kind(n + 1), has_label(prediction[i], value))
            for n, value in enumerate(arrays.classes.values())
        ]
    else:
        i = int(((prediction > 0) != (reference > 0)).sum((1, 2)).argmax())
        labels = prediction[i]
        masks = [
            ("reference", reference[i] > 0),
            ("right", (labels > 0) & (labels != LEFT)),
            ("left", labels == LEFT),
        ]
    window = LUNG_WINDOW if arrays.calibrated else grey_range(arrays.image[i])
    return slice_image(arrays.image[i], masks, window)


def _name(region: str) -> str:
    return _REGIONS.get(region, region)


def _noun(scores: Sequence[Score]) -> str:
    return noun_of(scores[0].region) if scores else "lung"


def _flag_texts(scores: Sequence[Score]) -> Mapping[Outcome, tuple[str, str]]:
    return _FLAGS_OF_CLASSES if scores and scores[0].region == ALL_LABELS else _FLAGS


def _colours(comparison: Comparison) -> Facts:
    """Return the names of several classes with the colours of their contours."""
    names = _classes(comparison)
    return (("Contours", describe_label_colours(names)),) if names else ()


def _classes(comparison: Comparison) -> list[str]:
    """Return the names of several classes; empty for lungs."""
    return comparison.regions[1:] if comparison.main_region == ALL_LABELS else []


def _class_columns(comparison: Comparison) -> list[Column]:
    definition = METRICS["dice"].definition
    return [
        Column(f"dice {name}", f"Dice, {name}", "", DisplayUnit().decimals, definition)
        for name in _classes(comparison)
    ]


def _with_classes(case: PageCase, comparison: Comparison) -> PageCase:
    """Return a case with the Dice of each of several classes."""
    values = {
        f"dice {score.region}": score.metrics.get("dice")
        for score in comparison.scores
        if score.case == case.name and score.region in _classes(comparison)
    }
    return replace(case, values={**case.values, **values})


def _tiles(comparison: Comparison, scores: Sequence[Score]) -> tuple[Tile, ...]:
    summary = comparison.summary()
    patients = len({score.patient for score in scores})
    missed = sum(score.outcome in ("false_negative", "false_positive") for score in scores)
    tiles = [
        Tile("Cases", f"{len(scores):,}", f"of {patients:,} patient{'s' * (patients != 1)}"),
        Tile(
            f"{_noun(scores).capitalize()} in one mask only",
            f"{missed:,}",
            "cases with IoU 0",
            "error" if missed else "",
        ),
    ]
    for name in _HEADLINES:
        if name in summary:
            unit, metric = _unit(name, scores), summary[name]
            value = f"{unit.format(metric.mean)} {unit.text}".strip()
            interval = _interval(metric, unit)
            note = f"mean; 95 % CI {interval}" if metric.confidence_interval else "mean"
            tiles.append(Tile(METRICS[name].label, value, note))
    for region in _classes(comparison):
        if dice := comparison.summary(region).get("dice"):
            interval = _interval(dice, DisplayUnit())
            note = f"mean; 95 % CI {interval}" if dice.confidence_interval else "mean"
            tiles.append(Tile(f"Dice, {region}", DisplayUnit().format(dice.mean), note))
    return tuple(tiles)


def _unit(name: str, scores: Sequence[Score]) -> DisplayUnit:
    """Return the unit of a metric of these scores; if they differ, that of the first with lung."""
    first = next((score for score in scores if score.metrics), None)
    return DisplayUnit() if first is None else display_unit(name, first.unit, first.ndim)


def _column(name: str, scores: Sequence[Score]) -> Column:
    unit, metric = _unit(name, scores), METRICS[name]
    return Column(name, metric.label, unit.text, unit.decimals, metric.definition)


def _metric_plots(scores: Sequence[Score]) -> list[Plot]:
    if not scores:
        return []
    plots = [
        iou_histogram([score.metrics["iou"] for score in scores]),
        histogram(
            f"Dice of {_name(scores[0].region)}",
            "Dice",
            [s.metrics["dice"] for s in scores],
            "Cases",
        ),
    ]
    if len({(score.unit, score.ndim) for score in scores}) == 1 and len(scores) > 1:
        plots.append(_bland_altman(scores))
    return plots


def _bland_altman(scores: Sequence[Score]) -> Plot:
    unit = _unit("volume_difference", scores)
    predicted = np.array([score.prediction_volume / unit.size for score in scores])
    reference = np.array([score.reference_volume / unit.size for score in scores])
    limits = agreement(reference.tolist(), predicted.tolist())
    levels = {
        "bias": limits.bias,
        "limits of agreement": limits.upper_limit,
        "lower limit": limits.lower_limit,
    }
    low, bias, high = (
        f"{value:+,.{unit.decimals}f}"
        for value in (limits.lower_limit, limits.bias, limits.upper_limit)
    )
    points = zip((predicted + reference) / 2, predicted - reference, scores, strict=True)
    return scatter_plot(
        "Agreement of sizes (Bland-Altman)",
        (f"Mean of both masks ({unit.text})", f"Prediction minus reference ({unit.text})"),
        [(float(mean), float(difference), score.case) for mean, difference, score in points],
        levels,
        f"Bias {bias} {unit.text}; 95 % limits of agreement {low} to {high} {unit.text}",
    )


def _case(score: Score, scores: Sequence[Score], picture: PageImage | None) -> PageCase:
    values = {
        name: score.metrics[name] / _unit(name, scores).size if score.metrics else None
        for name in _COLUMNS
    }
    texts = _flag_texts(scores)
    flags = [PageFlag(*texts[score.outcome])] if score.outcome in texts else []
    if score.unit == "px" and any(other.unit == "mm" for other in scores):
        flags.append(_NO_SPACING)
    return PageCase(score.case, values, tuple(flags), picture)


def _notices(counts: Mapping[Outcome, int], scores: Sequence[Score]) -> tuple[Notice, ...]:
    flags = _flag_texts(scores)
    texts = [f"{counts[k]:,} cases: {text}." for k, (_, text) in flags.items() if counts[k]]
    without = sum(score.unit == "px" for score in scores)
    if without:
        which = "Some cases have" if without < len(scores) else "The images have"
        texts.append(f"{which} no pixel size: {_NO_SPACING.message}.")
    return tuple(map(Notice, texts))


def _statistics(comparison: Comparison) -> tuple[Statistics, ...]:
    tables = []
    for region in comparison.regions:
        if summary := comparison.summary(region):
            scores = comparison.defined(region)
            rows = tuple(_row(name, metric, scores) for name, metric in summary.items())
            definitions = tuple(METRICS[name].definition for name in summary)
            title, columns = f"Metrics of {_name(region)}", ("Metric", *_STATISTICS)
            folded = region in ("right", "left")
            tables.append(Statistics(title, columns, rows, definitions, folded))
    for region, metric in product([comparison.main_region, *_classes(comparison)], _BY_GROUP):
        groups = {
            name: (part.summary(region)[metric], part.defined(region))
            for name, part in comparison.by_group().items()
            if metric in part.summary(region)
        }
        if groups:
            rows = tuple((name, *_row(metric, *group)[1:]) for name, group in groups.items())
            title = f"{METRICS[metric].label} of {_name(region)} by group"
            tables.append(Statistics(title, ("Group", *_STATISTICS), rows))
    return tuple(tables)


def _row(name: str, metric: MetricSummary, scores: Sequence[Score]) -> tuple[str, ...]:
    unit = _unit(name, scores)
    label = f"{METRICS[name].label} ({unit.text})" if unit.text else METRICS[name].label
    values = [unit.format(v) for v in (metric.std, metric.median, metric.min, metric.max)]
    interval = _interval(metric, unit)
    return (label, unit.format(metric.mean), interval, *values, f"{metric.n_cases:,}")


def _interval(metric: MetricSummary, unit: DisplayUnit) -> str:
    if metric.confidence_interval is None:
        return "one patient"
    return " to ".join(unit.format(limit) for limit in metric.confidence_interval)
