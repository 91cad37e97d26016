"""Names from user input: printable text and safe file names."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence

LONGEST = 160
"""Bytes of one part of the name of a result; suffixes are added, and file systems allow 255."""

_FORBIDDEN = re.compile(r'[\\:*?"<>|]')  # on Windows; a colon and a backslash elsewhere too
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def printable(text: str) -> str:
    r"""Return a text with control characters and undecodable bytes written as escapes (\x1b)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_hash(text: str) -> str:
    """Return eight hexadecimal digits of the SHA-256 of a text or file name."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with a noun, in the plural unless it is 1: ``1 pair``, ``2 pairs``."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def shorten_list(names: Sequence[str], most: int = 5) -> str:
    """Return the first names as text, with the number of the others: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message; empty if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def safe_name(name: str) -> str:
    """Return a relative path, its parts separated by /, that is valid on every file system.

    Forbidden characters are replaced in a part, and a part of more than ``LONGEST`` bytes is cut.
    Such a part gets a hash of the original, so that different names stay different.
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
