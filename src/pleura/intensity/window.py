"""Grey values of a display window that the user states, and their conversion to HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pleura.errors import ScanError
from pleura.intensity.levels import Levels
from pleura.intensity.mapping import IntensityMapping, UnitsOption
from pleura.intensity.units import estimate_units_from_levels

_AIR_HU = -1150.0, -850.0
_TISSUE_HU = -200.0, 250.0
"""HU that the estimated levels of air and soft tissue have with the correct window. A level that
is saturated may be beyond them."""

_SATURATED = 0.02
"""Distance of a saturated level from the end of the range, as a fraction of the range."""


@dataclass(frozen=True)
class Window:
    """A display window: grey values are linear in HU from level - width/2 to level + width/2.

    Parameters
    ----------
    level, width:
        Centre and width in HU.
    inverted:
        Whether the smallest grey value is the highest HU.

    Raises
    ------
    ScanError
        A value is not finite, or the width is not positive.
    """

    level: float
    width: float
    inverted: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level) and 0 < self.width < np.inf):
            raise ScanError(
                f"a window of level {self.level:g} and width {self.width:g} is invalid",
                where=None,
                hint="pass level and width in HU, with a width above 0, such as -600 1500",
            )

    @property
    def limits(self) -> tuple[float, float]:
        """HU of the darkest and the brightest grey value."""
        return self.level - self.width / 2, self.level + self.width / 2

    def mapping(self, bottom: float, top: float) -> IntensityMapping:
        """Return the conversion of grey values from ``bottom`` to ``top`` to HU."""
        low, high = self.limits
        if self.inverted:
            low, high = high, low
        scale = (top - bottom) / (high - low)
        name = "inverted grey" if self.inverted else "grey"
        return IntensityMapping(
            scale, bottom - scale * low, name, calibrated=False, window=self.limits
        )


Units: TypeAlias = UnitsOption | Window
"""Intensity units of the values: an option, or the window that they were exported with."""


def units_or_window(units: Units, window: tuple[float, float] | None) -> Units:
    """Return the window, if there is one, else the units.

    Parameters
    ----------
    units:
        ``inverted`` inverts the window.
    window:
        Level and width in HU, or None.

    Raises
    ------
    ScanError
        The window is invalid, or the units are not grey values.
    """
    if window is None:
        return units
    if units not in ("auto", "grey", "inverted"):
        raise ScanError(
            f"a window is for grey values, but the units are {units}",
            where=None,
            hint="pass --window without --units, or with --units inverted",
        )
    level, width = window
    return Window(level, width, inverted=units == "inverted")


def find_contradiction(
    levels: Sequence[Levels], mapping: IntensityMapping, grey: tuple[float, float]
) -> str:
    """Return a clause on levels that contradict a window; empty if there are none.

    Parameters
    ----------
    levels:
        Levels of some slices; the negated slices, if the window is inverted.
    mapping:
        The conversion by the window.
    grey:
        Grey values of the limits of the window; negated, if it is inverted.
    """
    measured = [image for image in levels if image.air is not None]
    if not measured:
        return ""
    bottom, top = grey
    margin = _SATURATED * (top - bottom)
    air = float(np.median([image.air for image in measured]))
    tissue = float(np.median([image.soft_tissue for image in measured]))
    sign = np.sign(mapping.scale)
    air_hu, tissue_hu = mapping.to_hu(sign * np.array([air, tissue])).tolist()
    clause = ""
    if air_hu < _AIR_HU[0] or (air_hu > _AIR_HU[1] and air > bottom + margin):
        clause = f"air would have {air_hu:.0f} HU"
    elif tissue_hu > _TISSUE_HU[1] or (tissue_hu < _TISSUE_HU[0] and tissue < top - margin):
        clause = f"soft tissue would have {tissue_hu:.0f} HU"
    if clause and estimate_units_from_levels(levels).kind == "HU":
        clause += "; the values are probably HU"
    return clause
