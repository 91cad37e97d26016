"""The model file: an ONNX graph from HU or grey values to probability, with metadata."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pleura.engine.lung_stage import LungStage, embedded_model
from pleura.engine.metadata_values import (
    context_of_json,
    is_text,
    is_window,
    within_levels,
)
from pleura.engine.model_classes import (
    check_classes,
    check_output,
    classes_of_json,
    classes_to_json,
    invalid_metadata,
)
from pleura.engine.onnx_graph import GraphError, GraphSignature, check_graph
from pleura.errors import ModelError, first_line
from pleura.files.listing import describe_wrong_path
from pleura.scan.context import NO_CONTEXT, SliceContext
from pleura.scan.labels import Label, may_overlap

InputUnits = Literal["HU", "grey"]
"""Units of a model's input: HU, or grey values from 0 to 255 in which air is dark."""

FORMATS: dict[InputUnits, int] = {"HU": 1, "grey": 2}
"""Format version of model files for lungs by the units of their input; increased when an older
pleura would misread a new file."""

CLASSES_FORMAT = 3
"""Format version of model files with several classes."""

CASCADE_FORMAT = 4
"""Format version of model files with several classes that are limited to the lungs."""

CONTEXT_FORMAT = 5
"""Format version of model files that take neighbouring slices."""

OVERLAP_FORMAT = 6
"""Format version of model files with classes that may overlap."""

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
_KEYS_SINCE = {"input": 2, "window": 2, "classes": 3, "output": 3, "context": 5}
"""Format version that introduced a key; other keys are in all formats."""


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of a model in its file.

    The graph converts HU or grey values, int16 (slices, rows, columns), to the probability of lung
    times 255, uint8 of the same shape; with classes to the probabilities of several classes, uint8
    (slices, classes, rows, columns). With a context, the input is (slices, channels, rows,
    columns).

    Attributes
    ----------
    format:
        Format version of the file; see `model_format`.
    name, version:
        Name and version of the model, at most 64 characters each.
    labels:
        ``("lung",)``, or the names of the classes.
    threshold:
        Smallest probability (0 to 1) of a lung voxel; classes have their own thresholds.
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
    classes:
        The classes, in the order of the output; empty for lungs.
    output:
        ``softmax``, whose probabilities sum to 1; ``sigmoid`` of classes that may overlap.
    context:
        The neighbouring slices in the input.
    lungs:
        The first stage of a cascade; None for other models.

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
    classes: tuple[Label, ...] = ()
    output: Literal["softmax", "sigmoid"] = "softmax"
    context: SliceContext = NO_CONTEXT
    lungs: LungStage | None = None

    def __post_init__(self) -> None:
        self._check_format()
        if self.window is not None and not (self.input == "grey" and is_window(self.window)):
            raise invalid_metadata("window", "two increasing HU of a model for grey values")
        for name in ("name", "version"):
            value = getattr(self, name)
            if not is_text(value, _MAX_NAME) or not value.strip() or not value.isprintable():
                raise invalid_metadata(name, f"1 to {_MAX_NAME} printable characters")
        for name in ("data", "data_fingerprint", "licence", "weights_sha256"):
            if not is_text(getattr(self, name), _MAX_TEXT):
                raise invalid_metadata(name, f"up to {_MAX_TEXT} printable characters")
        if self.labels != (tuple(label.name for label in self.classes) or ("lung",)):
            raise invalid_metadata("labels", '["lung"], or the names of the classes')
        check_classes(self.classes)
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        if not number or not 0 < self.threshold <= 1:
            raise invalid_metadata("threshold", "a number above 0 and up to 1")
        if not isinstance(self.recipe, dict) or not within_levels(self.recipe, _MAX_DEPTH):
            raise invalid_metadata("recipe", f"an object of up to {_MAX_DEPTH} levels")

    def _check_format(self) -> None:
        known = self.input in FORMATS
        expected = model_format(self.input, self.classes, self.context) if known else None
        if self.lungs is not None and expected == CLASSES_FORMAT:
            expected = CASCADE_FORMAT
        if self.format != expected or (self.lungs is not None and expected != CASCADE_FORMAT):
            raise invalid_metadata(
                "input", '"HU" in format 1, "grey" in format 2, and one of both in later formats'
            )
        values = {label.value for label in self.classes}
        if self.lungs is not None and self.lungs.label in values:
            raise invalid_metadata("lungs: label", "different from the values of the classes")
        check_output(self.classes, self.output)

    def summary(self) -> dict[str, Any]:
        """Return the values that identify the model."""
        keys = ["name", "version", "threshold", "weights_sha256"]
        if self.input != "HU":
            keys.append("input")
        values = {key: getattr(self, key) for key in keys}
        if self.context.slices:
            values["context"] = asdict(self.context)
        if self.lungs is not None:
            values["lungs"] = self.lungs.to_dict()
        return values | ({"classes": classes_to_json(self.classes)} if self.classes else {})

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata as a dictionary that JSON can store, with the keys of its format."""
        content = {**asdict(self), "classes": classes_to_json(self.classes)}
        content["lungs"] = self.lungs and self.lungs.to_dict()
        return {key: content[key] for key in _keys_of(self.format)}


def model_format(input_units: InputUnits, classes: Sequence[Label], context: SliceContext) -> int:
    """Return the format version of a model; a cascade has ``CASCADE_FORMAT``."""
    if may_overlap(classes):
        return OVERLAP_FORMAT
    if context.slices:
        return CONTEXT_FORMAT
    return CLASSES_FORMAT if classes else FORMATS[input_units]


def read_metadata(path: Path | bytes) -> ModelMetadata:
    """Read the metadata of a model file and check the structure of its graph.

    Parameters
    ----------
    path:
        The file, or its content.

    Raises
    ------
    ModelError
        The file is missing, truncated, of a newer format, or not a model file of pleura; or
        its metadata or graph is invalid.
    """
    return _read_model(path)[0]


def read_lung_model(path: Path) -> bytes:
    """Return the model file of the lungs that a cascade contains.

    Raises
    ------
    ModelError
        As `read_metadata`; or the file is not a cascade.
    """
    return embedded_model(_read_model(path)[1])


def _read_model(source: Path | bytes) -> tuple[ModelMetadata, dict[str, str]]:
    """Return the metadata of a model file and its entries; see `read_metadata`."""
    path = source if isinstance(source, Path) else None
    try:
        return _check_model(_read(source) if isinstance(source, Path) else source)
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
            describe_wrong_path(Path(str(path)), "model file", SHIPPED_MODELS),
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


def _check_model(content: bytes) -> tuple[ModelMetadata, dict[str, str]]:
    """Return the metadata and the entries of a model file, and check its parts."""
    entries, signature = check_graph(content)
    metadata = _parse(json.loads(entries[METADATA_KEY]), signature)
    if metadata.lungs is not None:
        require_lung_model(read_metadata(embedded_model(entries)), metadata.input)
    return metadata, entries


def require_lung_model(model: ModelMetadata, units: InputUnits) -> None:
    """Require that a model can be the first stage of a cascade.

    Parameters
    ----------
    model:
        Metadata of the model of the lungs.
    units:
        Units of the input of the second stage.

    Raises
    ------
    ModelError
        The model is a cascade, has several classes, takes neighbouring slices, or other units.
    """
    if model.lungs is not None or model.classes or model.context.slices:
        reason = "takes neighbouring slices" if model.context.slices else "has several classes"
        raise ModelError(
            f"the model {model.name} {'is a cascade' if model.lungs is not None else reason}, not "
            "a model of the lungs",
            where=None,
            hint="pass a model of the lungs, such as `default` (recipe key data.lungs.model)",
        )
    if model.input != units:
        names = {"HU": "HU", "grey": "grey values"}
        raise ModelError(
            f"the model of the lungs {model.name} takes {names[model.input]}, but the images have "
            f"{names[units]}",
            where=None,
            hint="choose another model, or omit the recipe key data.lungs.model",
        )


def _read(path: Path) -> bytes:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block
        raise OSError("not a regular file")
    if status.st_size > MAX_BYTES:
        raise GraphError(f"is larger than {MAX_BYTES >> 30} GB")
    return path.read_bytes()


def _parse(content: Any, signature: GraphSignature) -> ModelMetadata:
    version = content["format"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise invalid_metadata("format", "a positive integer")
    if version > OVERLAP_FORMAT:
        raise ModelError(
            f"the model has format {version:.9g}; this version of pleura reads up to "
            f"{OVERLAP_FORMAT}",
            where=None,
            hint="run pip install --upgrade pleura",
        )
    n_channels, n_classes = signature.check()
    names = set(_keys_of(version))
    if content.keys() != names:
        missing = sorted(names - content.keys())
        raise invalid_metadata(
            "keys", f"those of a model file (missing: {', '.join(missing) or 'none'})"
        )
    tuples = {
        key: tuple(value)
        for key, value in content.items()
        if key in ("labels", "window") and isinstance(value, list)
    }
    classes = classes_of_json(content.get("classes", []), content.get("output") == "sigmoid")
    if version in (CLASSES_FORMAT, CASCADE_FORMAT) and not classes:
        raise invalid_metadata("classes", "a list of classes")
    context = context_of_json(content["context"]) if "context" in content else NO_CONTEXT
    if n_channels != (context.channels if context.slices else None):
        raise GraphError("has another number of channels than its metadata")
    if n_classes != (len(classes) or None):
        raise GraphError("has another number of classes than its metadata")
    stage = {"lungs": LungStage.from_dict(content["lungs"])} if "lungs" in content else {}
    return ModelMetadata(**{**content, **tuples, "classes": classes, "context": context, **stage})


def _keys_of(version: int) -> list[str]:
    """Return the keys of the metadata in a format version."""
    names = [field.name for field in fields(ModelMetadata)]
    if version != CASCADE_FORMAT:
        names.remove("lungs")
    if version == OVERLAP_FORMAT:
        names.remove("context")
    return [name for name in names if version >= _KEYS_SINCE.get(name, 1)]
