"""The pages of masks, models and runs held against references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.errors import PleuraError
from pleura.evaluation.compare import (
    Comparison,
    Score,
    match_below,
    match_masks,
    orders_of,
    outcomes_text,
)
from pleura.evaluation.model import ModelEvaluation
from pleura.evaluation.statistics import Spread, agreement, interval_text
from pleura.figures.masks import grey_range
from pleura.figures.preview import LUNG_WINDOW
from pleura.formats.read import read
from pleura.masks.labels import read_labels
from pleura.report.page import (
    Page,
    PageCase,
    PagePicture,
    histogram,
    iou_bands,
    lines,
    points,
    slice_picture,
)
from pleura.scan.labels import LEFT

Facts = tuple[tuple[str, str], ...]
Groups = Mapping[str, str] | None

_COLUMNS = ("dice", "iou", "hd95", "surface_dice_2", "volume_difference", "largest_missed")
_OUTCOMES = {
    "missed": "nothing was found",
    "invented": "lung was found where the reference has none",
    "neither": "no lung in either: in no mean",
}


def comparison_page(
    found: Comparison,
    predicted: Path,
    reference: Path,
    images: Path | None = None,
    command: str = "",
    groups: Groups = None,
) -> Page:
    """Make the page of a comparison of two folders; with their images a gallery too.

    Raises
    ------
    ScanError, DataError
        Masks or images cannot be read.
    """
    scores = [score for score in found.scores if score.region == "lungs"]
    pictures = {} if images is None else _pictures(scores, predicted, reference, images)
    facts = (("predicted", predicted.name), ("reference", reference.name))
    return scores_page("Masks against references", found, facts, pictures, command, groups=groups)


def judgement_page(
    title: str,
    judged: ModelEvaluation,
    facts: Facts,
    pictures: Mapping[str, PagePicture],
    command: str = "",
    history: Sequence[Mapping[str, float]] = (),
    groups: Groups = None,
) -> Page:
    """Make the page of a model or run that was judged; with ``history``, its training curves too.

    ``facts`` are the first lines of the page.
    """
    sweep, curve = judged.sweep(), judged.calibration
    plots = [
        lines(
            "Mean overlap by threshold, before cleaning: to choose by on validation alone",
            [row["threshold"] for row in sweep],
            {"Dice": [row["dice"] for row in sweep], "IoU": [row["iou"] for row in sweep]},
        ),
        lines(
            f"Calibration: of pixels with a probability, the share that is lung. Error "
            f"{curve.error:.4f}; {curve.error_in_doubt:.4f} over the {100 * curve.in_doubt:.2g} % "
            "in doubt (0.02 to 0.98)",
            curve.probability,
            {"observed": curve.lung, "perfect": curve.probability},
        ),
    ]
    if history:
        epochs = [row["epoch"] for row in history]
        for name in ("loss", "accuracy"):
            series = {k: [row[k] for row in history] for k in (name, f"validation_{name}")}
            plots.append(lines(f"Training: {name} by epoch", epochs, series))
    facts = (*facts, ("threshold", f"{judged.threshold:.3g}"))
    page = scores_page(title, judged.comparison, facts, pictures, command, plots, groups)
    cases = (replace(c, flags=(*c.flags, *judged.flags.get(c.name, ()))) for c in page.cases)
    return replace(page, cases=tuple(cases))


def scores_page(
    title: str,
    found: Comparison,
    facts: Facts,
    pictures: Mapping[str, PagePicture],
    command: str = "",
    plots: Sequence[dict[str, Any]] = (),
    groups: Groups = None,
) -> Page:
    """Make the page of scores, worst first; ``pictures`` by case, ``groups`` of cases."""
    scores = [score for score in found.scores if score.region == "lungs"]
    scores.sort(key=lambda score: score.metrics.get("iou", 1.0))
    units = sorted({score.unit for score in scores})
    counted = found.outcomes("lungs")
    bars = []
    if defined := [score.metrics for score in found.of("lungs")]:
        bars = [
            iou_bands([one["iou"] for one in defined]),
            histogram("Dice", [one["dice"] for one in defined]),
        ]
    if len({(score.unit, score.flat) for score in found.of("lungs")}) == 1 and len(defined) > 1:
        bars.append(_volumes(found.of("lungs")))
    return Page(
        title=title,
        lead=f"{len(scores)} cases: {outcomes_text(counted)}. Lengths in {' and '.join(units)}.",
        facts=(
            *facts,
            ("patients", str(len({score.patient for score in scores}))),
            ("data fingerprint", found.fingerprint[:16]),
            ("pleura", pleura.__version__),
            *((("command", command),) if command else ()),
        ),
        columns=_COLUMNS,
        cases=tuple(_case(score, pictures.get(score.case)) for score in scores),
        warnings=_warnings(counted, units),
        summary=_summary(found, groups),
        plots=(*bars, *plots),
    )


_SIZES = {
    ("mm", False): ("Volume", 1000.0, "ml"),
    ("mm", True): ("Area", 100.0, "cm²"),
    ("px", False): ("Volume", 1.0, "voxels"),
    ("px", True): ("Area", 1.0, "pixels"),
}


def _volumes(scores: Sequence[Score]) -> dict[str, Any]:
    """Plot volumes, or areas, as Bland and Altman do: difference against mean of both."""
    name, scale, unit = _SIZES[scores[0].unit, scores[0].flat]
    ours, theirs = (np.array([score.volumes[i] / scale for score in scores]) for i in (0, 1))
    limits = agreement(theirs.tolist(), ours.tolist())
    places = zip(((ours + theirs) / 2).tolist(), (ours - theirs).tolist(), strict=True)
    numbers = [limits.bias, limits.low, limits.high]
    bias, low, high = (f"{n:+.0f}" if abs(n) >= 100 else f"{n:+.3g}" for n in numbers)
    told = f"bias {bias}, 95 % limits {low} to {high} {unit}"
    levels = {"bias": limits.bias, "low": limits.low, "high": limits.high}
    return points(
        f"{name} found less the reference's, against their mean: {told}", list(places), levels
    )


def _case(score: Score, picture: PagePicture | None) -> PageCase:
    values = {name: score.metrics.get(name) for name in _COLUMNS}
    flag = _OUTCOMES.get(score.outcome)
    return PageCase(score.case, values, () if flag is None else (flag,), picture)


def _warnings(counted: dict[str, int], units: list[str]) -> tuple[str, ...]:
    lines = [f"{counted[k]} of the cases: {text}" for k, text in _OUTCOMES.items() if counted[k]]
    if "px" in units:
        lines.append("Spacing is not known for some cases: their distances are pixels, not mm.")
    return tuple(lines)


def _summary(found: Comparison, groups: Groups) -> tuple[list[str], list[list[Any]]]:
    head = ["region, metric", "mean", "95 % interval", "SD", "median", "worst", "cases"]
    rows = [
        _row(f"{region}, {name}", one)
        for region in found.regions
        for name, one in found.spreads(region).items()
    ]
    for group, part in ({} if groups is None else found.by_group(groups)).items():
        spreads = part.spreads("lungs")
        rows += [_row(f"{group}: {n}", spreads[n]) for n in ("dice", "hd95") if n in spreads]
    return head, rows


def _row(name: str, one: Spread) -> list[Any]:
    return [name, one.mean, interval_text(one.interval), one.sd, one.median, one.worst, one.cases]


def _pictures(
    scores: list[Score], predicted: Path, reference: Path, images: Path
) -> dict[str, PagePicture]:
    """Draw each case's worst slice; a case whose image is missing or unfit has none."""
    single = images.is_file()
    places = {} if single else {case: i for case, i, _ in match_below(images, reference).pairs}
    masks = {case: files for case, *files in match_masks(predicted, reference)}
    drawn = {}
    for score in scores:
        image = images if single else places.get(score.case)
        if image is not None:
            picture = _worst_of(image, *masks[score.case])
            if picture is not None:
                drawn[score.case] = picture
    return drawn


def _worst_of(image: Path, predicted: Path, reference: Path) -> PagePicture | None:
    try:
        scan = read(image)
    except PleuraError:
        return None
    scans = scan, read_labels(predicted), read_labels(reference)
    arrays = [order.apply(s.hu()) for order, s in zip(orders_of(*scans), scans, strict=True)]
    return worst_slice(*arrays) if arrays[0].shape == arrays[1].shape else None


def worst_slice(
    image: NDArray[Any], found: NDArray[Any], wanted: NDArray[Any], *, hu: bool = True
) -> PagePicture:
    """Draw the slice where labels and reference differ most; all are (slices, rows, columns)."""
    i = int(((found > 0) != (wanted > 0)).sum((1, 2)).argmax())
    sides = {"right": (found[i] > 0) & (found[i] != LEFT), "left": found[i] == LEFT}
    window = LUNG_WINDOW if hu else grey_range(image[i])
    return slice_picture(image[i], {"reference": wanted[i] > 0, **sides}, window)
