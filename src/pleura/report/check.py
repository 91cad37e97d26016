"""The report of a check: masks with suspected label errors, with reasons and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pleura
from pleura.dataset.check_report import CheckReport
from pleura.dataset.label_errors import SuspectedLabel
from pleura.dataset.pair_reader import PairReader
from pleura.figures.overlay import grey_range, overlay
from pleura.report.page import Page, PageCase, slice_picture
from pleura.typing import StrPath

if TYPE_CHECKING:
    from pleura.figures.backend import Figure


def write_check_report(path: StrPath, report: CheckReport, *, command: str = "") -> None:
    """Write the HTML report of a check, with a picture of each suspected label error.

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
    count = len(report.label_errors)
    return Page(
        title="Check of a data set",
        subtitle=f"{report.pairs} pairs, {report.readable} readable; "
        f"{count} mask{'' if count == 1 else 's'} with a suspected label error.",
        details=(
            ("images", report.images.name),
            ("masks", report.masks.name),
            ("units", report.units.reason),
            ("pleura", pleura.__version__),
            *((("command", command),) if command else ()),
        ),
        columns=("score",),
        cases=tuple(_case(label, reader) for label in report.label_errors),
        warnings=tuple(f.message for f in report.findings if f.topic != "label errors"),
        gallery_title="Suspected label errors, highest score first (1 is the limit of a criterion)",
    )


def _case(label: SuspectedLabel, reader: PairReader) -> PageCase:
    image, mask = reader.read(label.pair)
    picture = slice_picture(image, {"reference": mask}, grey_range(image))
    return PageCase(label.name, {"score": label.score}, label.reasons, picture)


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
