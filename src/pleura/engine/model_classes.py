"""The classes of a model in the metadata of its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pleura.errors import ModelError
from pleura.scan.bit_field import MAX_OVERLAPPING
from pleura.scan.labels import MAX_LABELS, Label

_MAX_NAME = 64
_KEYS = {"value", "name", "code", "threshold", "clean"}


def classes_to_json(classes: Sequence[Label]) -> list[dict[str, Any]]:
    """Return classes as JSON values; whether they overlap is the `output` of a model."""
    objects = []
    for label in classes:
        one = {**vars(label), "code": None if label.code is None else list(label.code)}
        del one["overlap"]
        objects.append(one)
    return objects


def classes_of_json(content: Any, overlap: bool = False) -> tuple[Label, ...]:
    """Return the classes in JSON values, which may ``overlap``.

    Raises
    ------
    ModelError
        A class has other keys.
    """
    if not isinstance(content, list) or len(content) > MAX_LABELS:
        raise invalid_metadata("classes", f"a list of up to {MAX_LABELS} classes")
    labels = []
    for one in content:
        if not isinstance(one, dict) or one.keys() != _KEYS:
            raise invalid_metadata("classes", f"objects with the keys {', '.join(sorted(_KEYS))}")
        code = tuple(one["code"]) if isinstance(one["code"], list) else one["code"]
        labels.append(Label(**{**one, "code": code}, overlap=overlap))
    return tuple(labels)


def check_classes(classes: Sequence[Label]) -> None:
    """Check the types and ranges of classes that were read from a file.

    Raises
    ------
    ModelError
        A value has the wrong type or is out of range, or two classes have the same value or name.
    """
    for label in classes:
        if type(label.value) is not int or not 1 <= label.value <= 255:
            raise invalid_metadata("classes: value", "a whole number from 1 to 255")
        if not _is_name(label.name):
            raise invalid_metadata("classes: name", f"1 to {_MAX_NAME} printable characters")
        if not isinstance(label.threshold, float) or not 0 < label.threshold < 1:
            raise invalid_metadata("classes: threshold", "a number above 0 and below 1")
        if type(label.clean) is not bool:
            raise invalid_metadata("classes: clean", "true or false")
        code = label.code
        if code is not None and not (
            isinstance(code, tuple) and len(code) == 3 and all(map(_is_name, code))
        ):
            raise invalid_metadata("classes: code", "scheme, value and meaning, or null")
    for key in ("value", "name"):
        if len({getattr(label, key) for label in classes}) < len(classes):
            raise invalid_metadata(f"classes: {key}", "different for each class")


def invalid_metadata(name: str, expected: str) -> ModelError:
    """Return the error for an invalid value in the metadata of a model."""
    return ModelError(
        f"invalid model metadata: {name} must be {expected}",
        where=None,
        hint="export the run again with valid options",
    )


def check_output(classes: Sequence[Label], output: str) -> None:
    """Check that the output of a model is that of its classes.

    Raises
    ------
    ModelError
        It is another one, or the number of classes that may overlap is not possible.
    """
    overlap = output == "sigmoid"
    if output not in ("softmax", "sigmoid") or any(c.overlap != overlap for c in classes):
        raise invalid_metadata("output", '"sigmoid" of classes that may overlap, else "softmax"')
    if overlap and not 2 <= len(classes) <= MAX_OVERLAPPING:
        raise invalid_metadata("classes", f"2 to {MAX_OVERLAPPING} classes that may overlap")


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _MAX_NAME and text.isprintable()
