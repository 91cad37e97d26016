"""Messages about invalid values of a recipe or a manifest, in the words of this package."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list, such as [1, 2]",
    "list": "a list, such as [1, 2]",
    "model": "a mapping of keys, such as {key: value}",
    "dict": "a mapping of keys, such as {key: value}",
    "path": "a path",
}
"""What a value must be, by the first word of the type of pydantic's error."""

_LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_ABSENT = {"missing": "missing", "string_too_short": "empty"}
_LENGTHS = {"too_short": ("min_length", "at least"), "too_long": ("max_length", "at most")}


def describe_invalid_value(key: str, error: Mapping[str, Any]) -> str:
    """Return a message about the value of a key or a column.

    Parameters
    ----------
    key:
        The key, with dots, or the column.
    error:
        An item of ``ValidationError.errors()``.
    """
    kind, limits, value = str(error["type"]), error.get("ctx", {}), _short(error["input"])
    if kind == "value_error":  # a message of this package
        return f"{key}: {error['msg'].removeprefix('Value error, ')}"
    if kind in _ABSENT:
        return f"{key} is {_ABSENT[kind]}"
    if kind == "literal_error":
        return f"{key} must be {limits['expected']}, not {value}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"{key} must be {words} {limits[name]}, not {value}"
    if kind in _LENGTHS:
        name, words = _LENGTHS[kind]
        return f"{key} must have {words} {limits[name]} values, not {value}"
    expected = _EXPECTED.get(kind.partition("_")[0])
    must_be = f"{key} must be {expected}, not" if expected else f"invalid value of {key}:"
    return f"{must_be} {value}"


def _short(value: object) -> str:
    return reprlib.repr(value) if not isinstance(value, str) else repr(value)[:200]
