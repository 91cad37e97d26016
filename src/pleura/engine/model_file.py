"""The model file: an ONNX graph from HU to probability, and a record of what it is."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pleura.engine.graph import GraphError, check_graph
from pleura.errors import ModelError, first_line

FORMAT = 1
"""Raised whenever an older pleura could misread a new model file."""

KEY = "pleura"
"""The entry of ONNX's metadata_props that holds the record, as JSON."""

MAX_BYTES = 1 << 30
"""Size of a model file."""

_MAX_NAME = 64  # of a Long String (LO), in which DICOM holds an algorithm's name
_MAX_TEXT = 10_000
_MAX_DEPTH = 16  # levels of the recipe


@dataclass(frozen=True)
class ModelRecord:
    """The description of a model in its file.

    The graph takes int16 HU (slices, rows, columns) and gives uint8 of the same shape: the
    probability of lung times 255. From ``threshold`` on a pixel is lung.

    Raises
    ------
    ModelError
        A value has the wrong type or is out of range.
    """

    format: int
    name: str
    version: str
    labels: tuple[str, ...]
    threshold: float
    recipe: Mapping[str, Any]
    data: str
    data_fingerprint: str
    licence: str
    weights_sha256: str

    def __post_init__(self) -> None:
        for name in ("name", "version"):
            value = getattr(self, name)
            if not _is_text(value, _MAX_NAME) or not value.strip() or not value.isprintable():
                raise _invalid(name, f"1 to {_MAX_NAME} printable characters")
        for name in ("data", "data_fingerprint", "licence", "weights_sha256"):
            if not _is_text(getattr(self, name), _MAX_TEXT):
                raise _invalid(name, f"up to {_MAX_TEXT} printable characters")
        if self.labels != ("lung",):
            raise _invalid("labels", '["lung"]')
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if not number or not 0 < self.threshold <= 1:
            raise _invalid("threshold", "a number above 0, up to 1")
        if not isinstance(self.recipe, dict) or not _within(self.recipe, _MAX_DEPTH):
            raise _invalid("recipe", f"an object of up to {_MAX_DEPTH} levels")

    def summary(self) -> dict[str, Any]:
        """Return what tells one model from another."""
        keys = ("name", "version", "threshold", "weights_sha256")
        return {key: getattr(self, key) for key in keys}

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


def read_record(path: Path) -> ModelRecord:
    """Read the record of a model file and check the structure of its graph.

    Raises
    ------
    ModelError
        The file is missing, truncated, of a newer format, or no model file of pleura; or its
        record or graph is invalid.
    """
    try:
        entries = check_graph(_read(path))
        return _parse(json.loads(entries[KEY]))
    except ModelError as error:
        raise ModelError(error.message, where=path, hint=error.hint) from error
    except GraphError as error:
        raise ModelError(
            f"the model file {error}",
            where=path,
            hint="give a file that `pleura export` wrote",
        ) from error
    except FileNotFoundError as error:
        raise ModelError(
            "no such model file",
            where=path,
            hint="give a file that `pleura export` wrote, or `default` or `accurate`",
        ) from error
    except OSError as error:
        raise ModelError(
            f"the model file cannot be read ({error.strerror or first_line(error)})",
            where=path,
            hint="check the path and its permissions",
        ) from error
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise ModelError(
            "this is no model file of pleura, or it is truncated",
            where=path,
            hint="give a file that `pleura export` wrote, or copy it again",
        ) from error


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for a writer
        raise OSError("not a regular file")
    if status.st_size > MAX_BYTES:
        raise GraphError(f"is larger than {MAX_BYTES >> 30} GB")
    return path.read_bytes()


def _parse(content: Any) -> ModelRecord:
    version = content["format"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _invalid("format", "a positive integer")
    if version > FORMAT:
        raise ModelError(
            f"the model has format {version:.9g}; this pleura reads up to {FORMAT}",
            where=None,
            hint="update pleura: pip install --upgrade pleura",
        )
    names = {field.name for field in fields(ModelRecord)}
    if content.keys() != names:
        missing = sorted(names - content.keys())
        raise _invalid("keys", f"those of a model file (missing: {', '.join(missing) or 'none'})")
    labels = content["labels"]
    return ModelRecord(**{**content, "labels": tuple(labels) if isinstance(labels, list) else ()})


def _invalid(name: str, expected: str) -> ModelError:
    return ModelError(
        f"invalid model record: {name} must be {expected}",
        where=None,
        hint="export the run again, with valid options",
    )


def _is_text(value: object, longest: int) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= longest
        and all(sign.isprintable() or sign in "\n\t" for sign in value)
    )


def _within(value: object, levels: int) -> bool:
    """Whether a JSON value is nested at most so many levels deep."""
    if isinstance(value, dict):
        return levels > 0 and all(_within(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_within(one, levels - 1) for one in value)
    return True
