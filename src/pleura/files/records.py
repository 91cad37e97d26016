"""JSON files that pleura writes; damaged files are read as empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pleura.files.atomic import write_text


def read_record(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if it is missing, damaged or nested too deeply."""
    try:
        return parse_record(path.read_bytes())
    except OSError:
        return {}


def write_json(path: Path, content: Any) -> None:
    """Write an object as indented ASCII JSON, through `write_atomically` unless it is a pipe.

    Raises
    ------
    DataError
        The folder cannot be written or the disk is full; an older file is unchanged.
    """
    text = json.dumps(content, indent=2) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text)  # a pipe or device must not be replaced by a file
    else:
        write_text(path, text)


def parse_record(content: bytes) -> dict[str, Any]:
    """Return the object in JSON text; empty if it is not one, is damaged or nested too deeply."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
