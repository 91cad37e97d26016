"""A self-contained HTML page about many cases, which needs no network connection."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pleura.figures.design import icons, style_sheet
from pleura.files.atomic import write_atomically
from pleura.report.images import PageImage
from pleura.report.plots import Plot

_FOLDER = Path(__file__).parent
_ICONS = (
    "check",
    "chevron-down",
    "chevron-up",
    "copy",
    "error",
    "info",
    "open",
    "search",
    "sort",
    "warning",
)

Severity = Literal["", "warning", "error"]


@dataclass(frozen=True)
class Column:
    """A column of numbers of the table of cases.

    Parameters
    ----------
    key:
        Key of `PageCase.values`.
    label, unit:
        Name and unit.
    decimals:
        Number of decimals to show.
    definition:
        One sentence that explains the numbers.
    """

    key: str
    label: str
    unit: str = ""
    decimals: int = 0
    definition: str = ""


@dataclass(frozen=True)
class Tile:
    """A number of the summary at the top of the page."""

    label: str
    value: str
    note: str = ""
    level: Severity = ""


@dataclass(frozen=True)
class Notice:
    """A message above the cases."""

    text: str
    level: Severity = "warning"


@dataclass(frozen=True)
class PageFlag:
    """A reason to check a case: its kind as a title, and the message."""

    title: str
    message: str


@dataclass(frozen=True)
class Failure:
    """A scan without result."""

    name: str
    problem: str
    hint: str


@dataclass(frozen=True)
class Statistics:
    """A table of statistics.

    Parameters
    ----------
    title:
        Title of the table.
    columns:
        Header of the table.
    rows:
        Text of the cells.
    definitions:
        Definition of the first cell of each row.
    folded:
        Show the title only, until the table is opened.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    definitions: tuple[str, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class PageCase:
    """A case of the gallery and the table.

    Parameters
    ----------
    name:
        Name of the case.
    values:
        Number by key of `Column`; None if it is unknown.
    flags:
        Reasons to check the case.
    picture:
        Slices of the case; None leaves the case out of the gallery.
    link:
        Relative address of a larger image.
    source:
        Where the case comes from.
    command:
        Command that opens the case in the viewer.
    """

    name: str
    values: dict[str, float | None]
    flags: tuple[PageFlag, ...] = ()
    picture: PageImage | None = None
    link: str | None = None
    source: str = ""
    command: str = ""


@dataclass(frozen=True)
class Page:
    """Content of a page.

    Parameters
    ----------
    title, subtitle:
        Title, and the line below it.
    details:
        Names and values below the title.
    columns:
        Columns of the table of cases; the first ones are also shown below the images.
    cases:
        Cases, in the order of the gallery and the table.
    tiles:
        Numbers of the summary.
    notices, notices_title:
        Messages above the cases, and their title.
    failures:
        Scans without result.
    statistics:
        Tables of statistics.
    plots:
        Plots.
    gallery_title, table_title:
        Titles of the gallery and of the table.
    large_images:
        Show the images of the gallery larger.
    methods:
        Paragraphs that describe the methods.
    viewer:
        Address of the viewer if it serves the page.
    """

    title: str
    subtitle: str
    details: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    cases: tuple[PageCase, ...]
    tiles: tuple[Tile, ...] = ()
    notices: tuple[Notice, ...] = ()
    notices_title: str = "Warnings"
    failures: tuple[Failure, ...] = ()
    statistics: tuple[Statistics, ...] = ()
    plots: tuple[Plot, ...] = field(default=())
    gallery_title: str = "Cases, worst first"
    table_title: str = "All cases"
    large_images: bool = False
    methods: tuple[str, ...] = ()
    viewer: str = ""

    def write(self, path: Path) -> None:
        """Write the page as HTML.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        page = self.html()
        write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))

    def html(self) -> str:
        """Return the page as HTML."""
        content = asdict(self) | {"icons": {name: icons()[name] for name in _ICONS}}
        # A file name with "</script>" must not end the script.
        text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
        parts = {
            "__POLICY__": content_security_policy(),
            "__STYLE__": style_sheet() + _read("page.css"),
            "__SCRIPT__": _script(),
            "__DATA__": text,
        }
        page = _read("page.html")
        for key, value in parts.items():
            page = page.replace(key, value, 1)
        return page


@cache
def content_security_policy() -> str:
    """Return the policy of a page: it runs its own script, and loads nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    return f'"use strict";\n{_read("plots.js")}{_read("page.js")}'


@cache
def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text("utf-8")


def details_of(*pairs: tuple[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return names and values as text, without those that are empty."""
    return tuple((name, str(value)) for name, value in pairs if value not in ("", None))
