"""The slices of a scan in the units that a model takes: HU or grey values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pleura.engine.model_file import ModelMetadata
from pleura.errors import ScanError
from pleura.intensity.grey import to_grey
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Decision, Scan
from pleura.segmentation.context import with_context_decision

ReadSlices = Callable[[int, int | None], list[NDArray[np.int16]]]
"""Reads slices ``start`` to ``stop`` in HU; the second array, if there is one, is the input of the
model."""


MIN_SLICE_SIZE = 16
"""Smallest number of rows and columns of an axial slice."""


def check_slice_size(scan: Scan, geometry: Geometry) -> None:
    """Require axial slices that are large enough.

    Raises
    ------
    ScanError
        They have less than ``MIN_SLICE_SIZE`` rows or columns.
    """
    rows, columns = geometry.shape[1:]
    if min(rows, columns) < MIN_SLICE_SIZE:
        raise ScanError(
            f"an axial slice of this scan has {rows}x{columns} voxels",
            where=scan.source or scan.name,
            hint="pass axial slices of at least "
            f"{MIN_SLICE_SIZE}x{MIN_SLICE_SIZE} voxels, or the whole volume",
        )


def input_reader(scan: Scan, model: ModelMetadata) -> ReadSlices:
    """Return a function that reads slices of a scan in HU and, if they differ, as model input.

    Raises
    ------
    ScanError
        The scan is in HU, and the model takes grey values of an unknown window.
    """
    if model.input == "HU":
        return lambda start, stop: [scan.hu(start, stop)]
    if not scan.intensity.calibrated:
        return lambda start, stop: [scan.hu(start, stop), scan.grey(start, stop)]
    window = _window_of(model, scan)

    def read(start: int, stop: int | None) -> list[NDArray[np.int16]]:
        hu = scan.hu(start, stop)
        return [hu, to_grey(hu, *window)]

    return read


def with_input_decision(scan: Scan, model: ModelMetadata) -> Scan:
    """Return a scan with the decisions on the input of a model: grey values, neighbouring slices.

    Raises
    ------
    ScanError
        As `input_reader`.
    """
    scan = with_context_decision(scan, model.context)
    if model.input == "HU":
        if scan.intensity.calibrated or scan.intensity.window is not None:
            return scan
        return _with_units(scan, "the model takes HU, which are estimated", warning=True)
    if scan.intensity.calibrated:
        low, high = _window_of(model, scan)
        reason = f"HU from {low:g} to {high:g}, because the model takes grey values"
        decision = Decision("model input", "grey values", reason)
        return replace(scan, decisions=(*scan.decisions, decision))
    inverted = scan.intensity.scale < 0
    text = "the model takes the stored grey values" + (", inverted" if inverted else "")
    # A model that was trained on HU, rendered in any window, was trained on inverted images, too.
    return _with_units(scan, text, warning=inverted and model.window is None)


def _with_units(scan: Scan, text: str, *, warning: bool) -> Scan:
    """Return a scan with a text in its decision on the units, which may become a warning."""
    decisions = (
        replace(
            d,
            reason=f"{text}; {d.reason[:1].lower()}{d.reason[1:]}",
            warning=d.warning or warning,
        )
        if d.topic == "units"
        else d
        for d in scan.decisions
    )
    return replace(scan, decisions=tuple(decisions))


def _window_of(model: ModelMetadata, scan: Scan) -> tuple[float, float]:
    if model.window is None:
        raise ScanError(
            f"the scan is in HU, but the model {model.name} takes grey values of an unknown window",
            where=scan.source or scan.name,
            hint="export the slices as PNG with the window of the training images, pass "
            "--units grey if the scan has grey values, or use a model for HU, such as `default`",
        )
    return model.window
