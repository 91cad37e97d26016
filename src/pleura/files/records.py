"""JSON files that pleura itself wrote, read as if anyone might have changed them since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_record(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none, or it is damaged or too deep."""
    try:
        return parse_record(path.read_bytes())
    except OSError:
        return {}


def parse_record(content: bytes) -> dict[str, Any]:
    """Return the object in JSON text; empty if it is none, or it is damaged or too deep."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
