"""The report of a check: masks with suspected label errors, with reasons and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pleura
from pleura.dataset.check_report import (
    CheckReport,
    Finding,
    LungFraction,
    describe_model_input,
    format_counts,
)
from pleura.dataset.label_errors import SuspectedLabel
from pleura.dataset.pair_reader import PairReader
from pleura.figures.overlay import grey_range, overlay
from pleura.report.images import slice_image
from pleura.report.page import Column, Notice, Page, PageCase, PageFlag, Tile, details_of
from pleura.typing import StrPath

if TYPE_CHECKING:
    from pleura.figures.backend import Figure


_SCORE = Column(
    "score",
    "Score",
    decimals=2,
    definition="Sum over the criteria that the mask exceeds: measured value divided by its limit.",
)


def write_check_report(path: StrPath, report: CheckReport, *, command: str = "") -> None:
    """Write the HTML report of a check, with an image of each suspected label error.

    Parameters
    ----------
    path:
        The file to write.
    report:
        The result of `pleura.check`.
    command:
        The command line that the report shows.

    Raises
    ------
    DataError
        An image or mask can no longer be read, or the file cannot be written.
    """
    check_page(report, command).write(Path(path))


def check_page(report: CheckReport, command: str) -> Page:
    """Return the page of a check, masks in order of descending score."""
    reader = PairReader()
    suspected = len(report.label_errors)
    values = report.values
    return Page(
        title="Check of a data set",
        subtitle="The set can be trained on."
        if report.fit_to_train
        else "Errors must be corrected before the set can be trained on.",
        details=details_of(
            ("Images", report.images.name),
            ("Masks", report.masks.name),
            ("Image sizes", format_counts(report.sizes)),
            ("Stored values", "" if values is None else f"{values[0]:g} to {values[1]:g}"),
            ("Intensity units", report.units.reason),
            ("Input of a trained model", describe_model_input(report.units)),
            ("Version of pleura", pleura.__version__),
            ("Command", command),
        ),
        columns=(_SCORE,),
        cases=tuple(_case(label, reader) for label in report.label_errors),
        tiles=(
            Tile("Image-mask pairs", f"{report.pairs:,}", f"{report.readable:,} readable"),
            *_lung_tiles(report.lung_fraction),
            *_finding_tiles(report.findings),
            Tile("Suspected label errors", f"{suspected:,}", "", "warning" if suspected else ""),
        ),
        notices=tuple(_notice(f) for f in report.findings if f.topic != "label errors"),
        notices_title="Findings",
        gallery_title="Suspected label errors, highest score first",
        table_title="All suspected label errors",
    )


def _lung_tiles(fraction: LungFraction | None) -> tuple[Tile, ...]:
    if fraction is None:
        return ()
    note = f"{fraction.minimum:.1%} to {fraction.maximum:.1%}; {fraction.empty:,} masks are empty"
    return (Tile("Median lung fraction", f"{fraction.median:.1%}", note),)


def _finding_tiles(findings: Sequence[Finding]) -> tuple[Tile, ...]:
    counts = Counter(finding.severity for finding in findings if finding.topic != "label errors")
    return (
        Tile("Errors", f"{counts['error']:,}", "", "error" if counts["error"] else ""),
        Tile("Warnings", f"{counts['warning']:,}", "", "warning" if counts["warning"] else ""),
    )


def _notice(finding: Finding) -> Notice:
    text = f"{finding.message.rstrip('.')}. Hint: {finding.hint}."
    return Notice(text, "" if finding.severity == "note" else finding.severity)


def _case(label: SuspectedLabel, reader: PairReader) -> PageCase:
    image, mask = reader.read(label.pair)
    picture = slice_image(image, [("reference", mask)], grey_range(image))
    flags = tuple(PageFlag("Suspected label error", reason) for reason in label.reasons)
    return PageCase(label.name, {"score": label.score}, flags, picture)


def label_error_figure(report: CheckReport, n_masks: int = 40) -> Figure | None:
    """Return a figure of the masks with suspected label errors, as overlays on their images.

    Parameters
    ----------
    report:
        The result of `pleura.check`.
    n_masks:
        Maximum number of masks to show, highest score first.

    Returns
    -------
    Figure
        None if there is no suspected label error.

    Raises
    ------
    DataError
        An image or mask can no longer be read.
    """
    from pleura.figures.plots import contact_sheet  # matplotlib is optional

    reader = PairReader()
    labels = report.label_errors[:n_masks]
    if not labels:
        return None
    return contact_sheet(
        [overlay(*reader.read(label.pair)) for label in labels], [label.name for label in labels]
    )
