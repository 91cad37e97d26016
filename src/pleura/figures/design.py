"""The design that the viewer and the reports share: ``design.css`` and ``icons.json``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

_CSS = Path(__file__).with_name("design.css")
_ICONS = Path(__file__).with_name("icons.json")


def style_sheet() -> str:
    """Return the style sheet; the comment at its top documents the tokens and classes."""
    return _CSS.read_text("utf-8")


@cache
def icons() -> dict[str, str]:
    """Return the SVG shapes of each icon by name, in a view box of 24x24."""
    content: dict[str, str] = json.loads(_ICONS.read_text("utf-8"))
    return content


def icon(name: str) -> str:
    """Return an icon as inline SVG, hidden from screen readers.

    Raises
    ------
    KeyError
        There is no such icon.
    """
    return f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{icons()[name]}</svg>'
