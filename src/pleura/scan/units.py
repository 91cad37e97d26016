"""Conversion of a scan to HU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pleura.errors import ScanError
from pleura.intensity.decision import decide_by_window, decide_units
from pleura.intensity.grey import grey_range
from pleura.intensity.window import Units, Window
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

SAMPLED_SLICES = 9
"""Number of slices from which the units of a scan are estimated."""

MAX_SIDE = 2048
"""Pixels of the longer side of a slice from which its units are estimated."""


def with_units(scan: Scan, units: Units = "auto") -> Scan:
    """Return a scan with the conversion of its values to HU, and the decision about it.

    Raises
    ------
    ScanError
        The units cannot be determined, the slices differ in units, or the values are not CT.
    """
    try:
        slices = _sample_axial_slices(scan)
        if isinstance(units, Window):
            decided = decide_by_window(slices, units, grey_range(*scan.value_range))
        else:
            decided = decide_units(slices, units, scan.origin.states_hu)
    except ScanError as error:
        where = scan.source if error.where is None else error.where
        raise ScanError(error.message, where=where, hint=error.hint) from error
    decision = Decision("units", decided.mapping.name, decided.reason, decided.warning)
    decisions = (*scan.decisions, *_shear_decision(scan.geometry), decision)
    return replace(scan, intensity=decided.mapping, decisions=decisions)


def _shear_decision(geometry: Geometry) -> tuple[Decision, ...]:
    """Return a decision about axes that are not orthogonal, as those of a tilted gantry."""
    if not geometry.is_sheared:
        return ()
    choice = f"sheared by {geometry.skew:.3g} degrees; the slices are not resampled"
    return (Decision("grid", choice, "the axes in the header are not orthogonal"),)


def _sample_axial_slices(scan: Scan) -> list[AnyArray]:
    """Return axial slices (rows, columns) at even distances, without missing ones."""
    order = scan.geometry.to_canonical()
    n = scan.geometry.shape[order.axes[0]]
    index = np.unique(np.linspace(0, n - 1, min(n, SAMPLED_SLICES) + 2).round().astype(int)[1:-1])
    if n <= 2:
        index = np.arange(n)
    if order.axes[0] == 0:
        ascending = [n - 1 - i if order.flipped[0] else i for i in index]
        chosen = [i for i in ascending if i not in scan.missing_slices] or ascending
        return [_subsample(order.apply(scan.values(i, i + 1))[0]) for i in chosen]
    return [_subsample(pixels) for pixels in order.apply(scan.values())[index]]


def _subsample(pixels: AnyArray) -> AnyArray:
    """Return every n-th pixel of a slice that is larger than any CT, to limit the memory."""
    step = -(-max(pixels.shape) // MAX_SIDE)
    return pixels[::step, ::step]
