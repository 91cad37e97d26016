"""The model file: an ONNX graph from HU or grey values to probability, with metadata."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pleura.engine.onnx_graph import GraphError, check_graph
from pleura.errors import ModelError, first_line
from pleura.files.listing import describe_wrong_path

InputUnits = Literal["HU", "grey"]
"""Units of a model's input: HU, or grey values from 0 to 255 in which air is dark."""

FORMATS: dict[InputUnits, int] = {"HU": 1, "grey": 2}
"""Format version of model files by the units of their input; increased when an older pleura would
misread a new file."""

METADATA_KEY = "pleura"
"""Entry of ``metadata_props`` of the ONNX file that contains the metadata as JSON."""

SHIPPED_MODELS = ("default", "accurate", "greyscale")
"""Names of the shipped models; ``accurate`` is an ensemble of three networks, slower and slightly
more accurate; ``greyscale`` takes grey values of any window."""

MAX_BYTES = 1 << 30
"""Maximum size of a model file."""

_MAX_NAME = 64  # of a DICOM Long String (LO), which stores the name of an algorithm
_MAX_TEXT = 10_000
_MAX_DEPTH = 16  # levels of the recipe
_GREY_KEYS = {"input", "window"}  # only in model files for grey values


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a model in its file.

    The graph converts HU or grey values, int16 (slices, rows, columns), to the probability of lung
    times 255, uint8 of the same shape.

    Attributes
    ----------
    format:
        Format version of the file: 1 for HU, 2 for grey values.
    name, version:
        Name and version of the model, at most 64 characters each.
    labels:
        ``("lung",)``.
    threshold:
        Smallest probability (0 to 1) of a lung voxel.
    recipe:
        The recipe of the training.
    data, data_fingerprint:
        Description and hash of the training data.
    licence:
        Licence of the model.
    weights_sha256:
        Hash of the weights.
    input:
        Units of the input: ``HU``, or ``grey`` for values from 0 to 255.
    window:
        HU of the grey values 0 and 255; None if they are not known, and for ``HU``.

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
    input: InputUnits = "HU"
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.format != FORMATS.get(self.input):
            raise _invalid("input", '"HU" in format 1 and "grey" in format 2')
        if self.window is not None and not (self.input == "grey" and _is_window(self.window)):
            raise _invalid("window", "two increasing HU of a model for grey values")
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
            raise _invalid("threshold", "a number above 0 and up to 1")
        if not isinstance(self.recipe, dict) or not _within(self.recipe, _MAX_DEPTH):
            raise _invalid("recipe", f"an object of up to {_MAX_DEPTH} levels")

    def summary(self) -> dict[str, Any]:
        """Return the values that identify the model."""
        keys = ["name", "version", "threshold", "weights_sha256"]
        if self.input != "HU":
            keys.append("input")
        return {key: getattr(self, key) for key in keys}

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as a dictionary that JSON can store, with the keys of its format."""
        content = asdict(self)
        return {key: content[key] for key in _keys_of(self.format)}


def read_metadata(path: Path) -> ModelMetadata:
    """Read the metadata of a model file and check the structure of its graph.

    Raises
    ------
    ModelError
        The file is missing, truncated, of a newer format, or not a model file of pleura; or
        its metadata or graph is invalid.
    """
    try:
        entries = check_graph(_read(path))
        return _parse(json.loads(entries[METADATA_KEY]))
    except ModelError as error:
        raise ModelError(error.message, where=path, hint=error.hint) from error
    except GraphError as error:
        raise ModelError(
            f"the model file {error}",
            where=path,
            hint="pass a file that `pleura export` wrote",
        ) from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ModelError(
            describe_wrong_path(path, "model file", SHIPPED_MODELS),
            where=path,
            hint="pass a file that `pleura export` wrote, or `default` or `accurate`",
        ) from error
    except OSError as error:
        raise ModelError(
            f"the model file cannot be read ({error.strerror or first_line(error)})",
            where=path,
            hint="check the path and its permissions",
        ) from error
    except (KeyError, ValueError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise ModelError(
            "the file is not a model file of pleura, or it is truncated",
            where=path,
            hint="pass a file that `pleura export` wrote, or copy it again",
        ) from error


def _read(path: Path) -> bytes:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block
        raise OSError("not a regular file")
    if status.st_size > MAX_BYTES:
        raise GraphError(f"is larger than {MAX_BYTES >> 30} GB")
    return path.read_bytes()


def _parse(content: Any) -> ModelMetadata:
    version = content["format"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _invalid("format", "a positive integer")
    newest = max(FORMATS.values())
    if version > newest:
        raise ModelError(
            f"the model has format {version:.9g}; this version of pleura reads up to {newest}",
            where=None,
            hint="run pip install --upgrade pleura",
        )
    names = set(_keys_of(version))
    if content.keys() != names:
        missing = sorted(names - content.keys())
        raise _invalid("keys", f"those of a model file (missing: {', '.join(missing) or 'none'})")
    tuples = {
        key: tuple(value)
        for key, value in content.items()
        if key in ("labels", "window") and isinstance(value, list)
    }
    return ModelMetadata(**{**content, **tuples})


def _keys_of(version: int) -> list[str]:
    """Return the keys of the metadata in a format version."""
    names = [field.name for field in fields(ModelMetadata)]
    return [name for name in names if version != FORMATS["HU"] or name not in _GREY_KEYS]


def _is_window(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and [type(limit) for limit in value] == [float, float]
        and -math.inf < value[0] < value[1] < math.inf
    )


def _invalid(name: str, expected: str) -> ModelError:
    return ModelError(
        f"invalid model metadata: {name} must be {expected}",
        where=None,
        hint="export the run again with valid options",
    )


def _is_text(value: object, longest: int) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= longest
        and all(character.isprintable() or character in "\n\t" for character in value)
    )


def _within(value: object, levels: int) -> bool:
    """Return whether a JSON value has at most this number of nested levels."""
    if isinstance(value, dict):
        return levels > 0 and all(_within(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_within(item, levels - 1) for item in value)
    return True
