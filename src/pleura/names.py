"""Names from outside: how they are printed, written to tables, and made names of files."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 160
"""Bytes of one part of the name of a result; endings are added, and file systems allow 255."""

_FORBIDDEN = re.compile(r'[\\:*?"<>|]')  # on Windows; a colon and a backslash elsewhere too
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def printable(text: str) -> str:
    r"""Return a text with control characters and undecodable bytes written as escapes (\x1b)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_hash(text: str) -> str:
    """Return eight hexadecimal digits of the SHA-256 of a text or file name."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def safe_name(name: str) -> str:
    """Return a path below a folder, its parts separated by /, as every file system takes it.

    A part that has characters which some system forbids, or is longer than ``LONGEST`` bytes, is
    cleaned and gets a hash of the original, so that different names stay different.
    """
    parts = (part for part in name.split("/") if part not in ("", "."))
    return "/".join(map(_safe_part, parts)) or "."


def _safe_part(part: str) -> str:
    clean = "".join(c if c.isprintable() else "_" for c in _FORBIDDEN.sub("_", part))
    if clean == part and not _is_unusable(part):
        return part
    # Half a character at the end is dropped.
    kept = clean.strip(". ").encode()[: LONGEST - 9].decode(errors="ignore")
    return f"{kept or '_'}-{short_hash(part)}"


def _is_unusable(part: str) -> bool:
    long = len(part.encode("utf-8", "surrogatepass")) > LONGEST
    return long or part.endswith((".", " ")) or _RESERVED.fullmatch(part) is not None


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV; None is an empty cell.

    Text is written as `printable` has it. A spreadsheet takes text that begins with ``=``, ``+``,
    ``-`` or ``@`` for a formula: such text, unless it is a number, gets an apostrophe in front
    (OWASP, CSV injection), which `csv_value` removes.
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
