"""The page of a checked set: masks that look wrong, each with its reasons and a picture."""

from __future__ import annotations

import pleura
from pleura.dataset.checks import CheckReport
from pleura.dataset.label_errors import SuspectedLabel
from pleura.dataset.pairs import read_pair
from pleura.figures.masks import grey_range
from pleura.report.page import Page, PageCase, slice_picture


def check_page(found: CheckReport, command: str = "") -> Page:
    """Make the page of what `check` found, worst first.

    Raises
    ------
    DataError
        An image or mask can no longer be read.
    """
    others = tuple(f.message for f in found.findings if "looks wrong" not in f.message)
    return Page(
        title="A set of images and masks, checked",
        lead=f"{found.pairs} pairs, {found.readable} readable; "
        f"{len(found.suspects)} masks look wrong.",
        facts=(
            ("images", found.images.name),
            ("masks", found.masks.name),
            ("units", found.units.reason),
            ("pleura", pleura.__version__),
            *((("command", command),) if command else ()),
        ),
        columns=("score",),
        cases=tuple(_case(one) for one in found.suspects),
        warnings=others,
        gallery="Masks that look wrong, worst first (score 1 is at the limit)",
    )


def _case(one: SuspectedLabel) -> PageCase:
    image, mask = read_pair(one.pair)
    picture = slice_picture(image, {"reference": mask}, grey_range(image))
    return PageCase(one.name, {"score": one.score}, one.reasons, picture)
