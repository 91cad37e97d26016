"""The input of an exported model, and its conversion to the values of the training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.engine.model_file import InputUnits
from pleura.errors import RunError
from pleura.intensity.grey import WHITE
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.training.run import Run
from pleura.typing import AnyArray


@dataclass(frozen=True)
class GraphInput:
    """Units of the input of a model's graph.

    Attributes
    ----------
    units:
        HU or grey values.
    mapping:
        Conversion between the input and the values of the training images.
    window:
        See `ModelMetadata`.
    """

    units: InputUnits = "HU"
    mapping: IntensityMapping = HU
    window: tuple[float, float] | None = None

    def values(self, image: AnyArray) -> NDArray[np.int16]:
        """Convert a training image to the units of the input."""
        values = self.mapping.to_hu(image)
        return values if self.units == "HU" else values.clip(0, WHITE)


def graph_input(run: Run, requested: InputUnits | None = None) -> GraphInput:
    """Return the input of the model of a run.

    Parameters
    ----------
    run:
        The run, whose record contains the units of its images.
    requested:
        Units of the input; None: those of the training images.

    Raises
    ------
    RunError
        The values of the training images cannot be computed from the requested units.
    """
    units = run.record.get("units") or {"kind": "unknown"}
    kind = units["kind"]
    if kind in ("mixed", "wrapped HU") or (kind == "grey" and requested == "HU"):
        raise RunError(
            f"the run was trained on {kind} values, which cannot be computed from HU",
            where=run.folder,
            hint="omit --input HU to export a model for grey values"
            if kind == "grey"
            else "train on images that all have the same units",
        )
    if kind == "grey":
        if units.get("grey_limits") is None:  # a run of an earlier version
            raise RunError(
                "the run does not record the range of its grey values",
                where=run.folder,
                hint="train again with this version of pleura",
            )
        black, white = units["grey_limits"]
        return GraphInput("grey", _grey_mapping(float(black), float(white)))
    hu = HU
    if units.get("scale") is not None and units.get("offset") is not None:
        hu = IntensityMapping(float(units["scale"]), float(units["offset"]), str(units["formula"]))
    return GraphInput("HU", hu) if requested != "grey" else _window_input(run, hu)


def _window_input(run: Run, hu: IntensityMapping) -> GraphInput:
    """Return grey values between the limits of the window of a run that was trained in HU."""
    preprocessing = run.recipe.preprocessing
    if preprocessing.scaling != "window":
        raise RunError(
            f"a run with the scaling '{preprocessing.scaling}' has no window for grey values",
            where=run.folder,
            hint="train with --set preprocessing.scaling=window, or omit --input grey",
        )
    low, high = preprocessing.window
    window = (low - hu.offset) / hu.scale, (high - hu.offset) / hu.scale
    return GraphInput("grey", _grey_mapping(low, high), window)


def _grey_mapping(black: float, white: float) -> IntensityMapping:
    """Map grey 0 and 255 to two values of the training images; ``black`` is above if inverted."""
    return IntensityMapping((white - black) / WHITE, black, "grey")
