"""The page of masks held against references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.errors import PleuraError
from pleura.evaluation.compare import Comparison, Score, cases_below, labels_of
from pleura.report.page import Page, PageCase, PagePicture, histogram, iou_bands, slice_picture
from pleura.scan.io import read
from pleura.scan.scan import LEFT

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
) -> Page:
    """Make the page of a comparison of two folders; with their images a gallery too.

    Raises
    ------
    ScanError, DataError
        Masks or images cannot be read.
    """
    scores = [score for score in found.scores if score.region == "lungs"]
    scores.sort(key=lambda score: score.metrics.get("iou", 1.0))
    units = sorted({score.unit for score in scores})
    pictures = {} if images is None else _pictures(scores, predicted, reference, images)
    counted = found.outcomes("lungs")
    told = ", ".join(f"{n} {name}" for name, n in counted.items() if n)
    ious = [score.metrics["iou"] for score in found.of("lungs")]
    return Page(
        title="Masks against references",
        lead=f"{len(scores)} cases: {told}. Lengths in {' and '.join(units)}.",
        facts=(
            ("predicted", predicted.name),
            ("reference", reference.name),
            ("patients", str(len({score.patient for score in scores}))),
            ("pleura", pleura.__version__),
            *((("command", command),) if command else ()),
        ),
        columns=_COLUMNS,
        cases=tuple(_case(score, pictures.get(score.case)) for score in scores),
        warnings=_warnings(counted, units),
        summary=_summary(found),
        plots=(iou_bands(ious), histogram("Dice", [s.metrics["dice"] for s in found.of("lungs")]))
        if ious
        else (),
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


def _summary(found: Comparison) -> tuple[list[str], list[list[Any]]]:
    head = ["region, metric", "mean", "95 % interval", "SD", "median", "worst", "cases"]
    rows: list[list[Any]] = []
    for region in found.regions:
        for name, one in found.spreads(region).items():
            interval = f"{one.low:.4g} to {one.high:.4g}"
            row = [
                f"{region}, {name}",
                one.mean,
                interval,
                one.sd,
                one.median,
                one.worst,
                one.cases,
            ]
            rows.append(row)
    return head, rows


def _pictures(
    scores: list[Score], predicted: Path, reference: Path, images: Path
) -> dict[str, PagePicture]:
    """Draw each case's worst slice; a case whose image is missing or unfit has none."""
    single = images.is_file()
    places = {} if single else cases_below(images)
    folders = [{} if f.is_file() else cases_below(f) for f in (predicted, reference)]
    drawn = {}
    for score in scores:
        image = images if single else places.get(score.case)
        masks = [
            whole if whole.is_file() else folder[score.case]
            for whole, folder in zip((predicted, reference), folders, strict=True)
        ]
        if image is not None:
            picture = _worst_slice(image, *masks)
            if picture is not None:
                drawn[score.case] = picture
    return drawn


def _worst_slice(image: Path, predicted: Path, reference: Path) -> PagePicture | None:
    try:
        scan = read(image)
    except PleuraError:
        return None
    hu: NDArray[np.int16] = scan.geometry.to_canonical().apply(scan.hu())
    found, wanted = labels_of(predicted)[0], labels_of(reference)[0]
    if hu.shape != found.shape:
        return None
    i = int(((found > 0) != (wanted > 0)).sum((1, 2)).argmax())
    sides = {"right": (found[i] > 0) & (found[i] != LEFT), "left": found[i] == LEFT}
    return slice_picture(hu[i], {"reference": wanted[i] > 0, **sides})
