"""The first stage of a cascade: a model of the lungs, which limits the input of the network."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pleura.engine.model_classes import invalid_metadata
from pleura.errors import ModelError

LUNGS_KEY = "pleura.lungs"
"""Entry of ``metadata_props`` that contains the model file of the lungs in base64."""


@dataclass(frozen=True)
class LungStage:
    """How a cascade crops and masks the slices of a scan, before its network runs on them.

    Attributes
    ----------
    crop:
        Crop all slices of a scan to one box around its lungs.
    mask:
        Replace the values outside the lungs, and return no class there.
    margin:
        Distance from the lungs that counts as lung, in mm; in pixels for scans without spacing.
    background:
        Value outside the lungs, in the units of the input; None: the minimum of the cropped slice.
    grid:
        Rows and columns of the network's grid; a smaller box is enlarged to it.
    label:
        Value of voxels of the lungs without a class in masks; None: 0, as background.
    model:
        Name and version of the lung model.
    """

    crop: bool = True
    mask: bool = True
    margin: float = 10.0
    background: int | None = None
    grid: tuple[int, int] = (128, 128)
    label: int | None = None
    model: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        if type(self.crop) is not bool or type(self.mask) is not bool:
            raise invalid_metadata("lungs: crop and mask", "true or false")
        if not isinstance(self.margin, float) or not 0 <= self.margin < math.inf:
            raise invalid_metadata("lungs: margin", "a number of at least 0")
        if self.background is not None and not (
            type(self.background) is int and -(1 << 15) <= self.background < 1 << 15
        ):
            raise invalid_metadata("lungs: background", "a whole number of 16 bits, or null")
        if not _pair_of(self.grid, int) or not all(0 < side <= 1 << 16 for side in self.grid):
            raise invalid_metadata("lungs: grid", "rows and columns")
        if self.label is not None and not (type(self.label) is int and 1 <= self.label <= 255):
            raise invalid_metadata("lungs: label", "a whole number from 1 to 255, or null")
        if not _pair_of(self.model, str):
            raise invalid_metadata("lungs: model", "name and version")

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {**asdict(self), "grid": list(self.grid), "model": list(self.model)}

    @classmethod
    def from_dict(cls, content: Any) -> LungStage:
        """Return the stage with these values.

        Raises
        ------
        ModelError
            A key is missing or unknown, or a value is invalid.
        """
        if not isinstance(content, dict) or content.keys() != vars(cls()).keys():
            raise invalid_metadata("lungs", f"an object with the keys {', '.join(vars(cls()))}")
        tuples = {key: _as_tuple(content[key]) for key in ("grid", "model")}
        return cls(**{**content, **tuples})


def embedded_model(entries: Mapping[str, str]) -> bytes:
    """Return the model file of the lungs in the entries of a cascade.

    Raises
    ------
    ModelError
        The entry is missing or damaged.
    """
    try:
        return base64.b64decode(entries[LUNGS_KEY], validate=True)
    except (KeyError, ValueError) as error:
        raise ModelError(
            "the model file is a cascade without a readable model of the lungs",
            where=None,
            hint="copy the file again, or export the run again",
        ) from error


def to_entry(content: bytes) -> str:
    """Return a model file as the value of the entry ``LUNGS_KEY``."""
    return base64.b64encode(content).decode("ascii")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pair_of(value: object, kind: type) -> bool:
    return isinstance(value, tuple) and [type(item) for item in value] == [kind, kind]
