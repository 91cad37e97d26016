"""CSV tables, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pleura.names import printable

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV; None is an empty cell.

    Text is escaped by `printable`. Spreadsheets evaluate text that begins with ``=``, ``+``, ``-``
    or ``@`` as a formula. Such text, unless it is a number, is prefixed with an apostrophe (OWASP,
    CSV injection), which `csv_value` removes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def csv_value(cell: str) -> str:
    """Return the text of a cell that `csv_text` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
