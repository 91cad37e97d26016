"""The model file: an ONNX graph from HU to probability, and a record of what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pleura.errors import ModelError

FORMAT = 1
"""Raised whenever an older pleura could misread a new model file."""

KEY = "pleura"
"""The entry of ONNX's metadata_props that holds the record, as JSON."""


@dataclass(frozen=True)
class ModelRecord:
    """What a model file says of itself.

    The graph takes int16 HU (slices, rows, columns) and gives uint8 of the same shape: the
    probability of lung times 255. From ``threshold`` on a pixel is lung.
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

    def summary(self) -> dict[str, Any]:
        """Return what tells one model from another."""
        keys = ("name", "version", "threshold", "weights_sha256")
        return {key: getattr(self, key) for key in keys}

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


def read_record(path: Path) -> ModelRecord:
    """Read the record of a model file, and nothing else of it.

    Raises
    ------
    ModelError
        The file is missing, truncated, not one of ours, or of a newer format.
    """
    try:
        with path.open("rb") as file:
            entries = dict(_metadata(file, path.stat().st_size))
        content = json.loads(entries[KEY])
        written = int(content["format"])
        if written <= FORMAT:
            return ModelRecord(**{**content, "labels": tuple(content["labels"])})
    except FileNotFoundError as error:
        raise ModelError(
            "no such model file",
            where=path,
            fix="give a file that `pleura export` wrote, or `default` or `accurate`",
        ) from error
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            "this is no model file of pleura, or it is truncated",
            where=path,
            fix="give a file that `pleura export` wrote, or copy it again",
        ) from error
    raise ModelError(
        f"the model has format {written}; this pleura reads up to {FORMAT}",
        where=path,
        fix="update pleura: pip install --upgrade pleura",
    )


def _metadata(file: IO[bytes], size: int) -> Iterator[tuple[str, str]]:
    """Yield metadata_props of an ONNX ModelProto (field 14), without reading the rest of it.

    Protocol Buffers' wire format (https://protobuf.dev/programming-guides/encoding/): the onnx
    package, which would do it, is larger than all that runs the model.
    """
    while file.tell() < size:
        key = _varint(file)
        field, kind = key >> 3, key & 7
        if kind == 0:
            _varint(file)
        elif kind == 2:
            length = _varint(file)
            if file.tell() + length > size:
                raise ValueError("truncated")
            if field == 14:
                entry = dict(_strings(file.read(length)))
                yield entry[1], entry[2]
            else:
                file.seek(length, 1)
        else:
            raise ValueError("no ONNX file")


def _strings(content: bytes) -> Iterator[tuple[int, str]]:
    import io

    file = io.BytesIO(content)
    while file.tell() < len(content):
        field = _varint(file) >> 3
        yield field, file.read(_varint(file)).decode()


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("no ONNX file")
