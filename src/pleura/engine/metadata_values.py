"""Checks of values in the metadata of a model file."""

from __future__ import annotations

import math
from typing import Any

from pleura.engine.model_classes import invalid_metadata
from pleura.scan.context import MAX_DISTANCE, MAX_SLICES, SliceContext


def is_window(value: object) -> bool:
    """Return whether a value is two finite increasing numbers."""
    return (
        isinstance(value, tuple)
        and [type(limit) for limit in value] == [float, float]
        and -math.inf < value[0] < value[1] < math.inf
    )


def is_text(value: object, longest: int) -> bool:
    """Return whether a value is text of printable characters, newlines and tabs."""
    return (
        isinstance(value, str)
        and len(value) <= longest
        and all(character.isprintable() or character in "\n\t" for character in value)
    )


def within_levels(value: object, levels: int) -> bool:
    """Return whether a JSON value has at most this number of nested levels."""
    if isinstance(value, dict):
        return levels > 0 and all(within_levels(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(within_levels(item, levels - 1) for item in value)
    return True


def context_of_json(content: Any) -> SliceContext:
    """Return the neighbouring slices in JSON values.

    Raises
    ------
    ModelError
        A key or value is invalid.
    """
    expected = "the number of slices on each side, from 1 to 8, and their distance in mm or null"
    if not isinstance(content, dict) or content.keys() != {"slices", "distance"}:
        raise invalid_metadata("context", expected)
    slices, distance = content["slices"], content["distance"]
    is_distance = distance is None or (isinstance(distance, float) and 0 < distance <= MAX_DISTANCE)
    if type(slices) is not int or not 1 <= slices <= MAX_SLICES or not is_distance:
        raise invalid_metadata("context", expected)
    return SliceContext(slices, distance)
