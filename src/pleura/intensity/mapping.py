"""Conversion of stored values to Hounsfield units (HU)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.intensity.reference import AIR, FAT, MUSCLE
from pleura.intensity.wraparound import Wraparound
from pleura.typing import AnyArray, FloatArray

UnitsOption = Literal["auto", "hu", "offset", "grey", "inverted"]
"""Intensity units of the values: estimated, HU, HU plus 1024, or grey with dark or bright air."""

MIN_HU, MAX_HU = -1024, 32767
"""Range to which HU are clipped: only padding is below, and int16 ends above."""

_LUNG_TO_TISSUE = -900.0, 50.0
"""HU of aerated lung and of muscle."""

ControlPoints = tuple[float, float, float]
"""Stored values of air, fat and muscle."""


@dataclass(frozen=True)
class IntensityMapping:
    """Conversion between stored values and HU: ``stored = scale * HU + offset``.

    Attributes
    ----------
    scale, offset:
        The inverse of a rescale slope and intercept (DICOM PS3.3 C.11.1).
    name:
        Description of the stored values for messages, for example ``HU plus 1024``.
    control_points:
        Stored values of air, fat and muscle, where altered contrast makes the conversion piecewise
        linear between them; the scale applies below air and above muscle. None if linear.
    wraparound:
        Restores lost signs before the conversion. None if no sign was lost.
    calibrated:
        Whether the HU can be measured: True for HU and for HU with an offset, a factor or lost
        signs; False where HU are estimated from the grey levels of an image.
    window:
        HU of the darkest and the brightest grey value, where the user stated them.
    """

    scale: float = 1.0
    offset: float = 0.0
    name: str = "HU"
    control_points: ControlPoints | None = None
    wraparound: Wraparound | None = None
    calibrated: bool = True
    window: tuple[float, float] | None = None

    @property
    def distinguishes_lung(self) -> bool:
        """Whether lung differs from soft tissue as in HU: calibrated, or within a stated window."""
        if self.window is None:
            return self.calibrated
        return self.window[0] <= _LUNG_TO_TISSUE[0] and self.window[1] >= _LUNG_TO_TISSUE[1]

    def to_hu(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Convert stored values to HU, rounded and clipped to -1024 to 32767."""
        if self.wraparound is not None:
            values = self.wraparound.unwrap(values)
        if self.control_points is not None:
            values = self._interpolate(_single_precision(values), self.control_points)
        elif self.scale != 1 or self.offset or values.dtype.kind == "f":
            values = np.rint((_single_precision(values) - self.offset) / self.scale)
        if values.dtype == np.int16:
            return np.asarray(np.maximum(values, np.int16(MIN_HU)))
        return np.asarray(np.clip(values, MIN_HU, MAX_HU), np.int16)

    def _interpolate(
        self, values: NDArray[np.floating[Any]], points: ControlPoints
    ) -> NDArray[np.floating[Any]]:
        sign = np.sign(self.scale)  # in inverted pictures values decrease from air to muscle
        inner = np.interp(sign * values, sign * np.array(points), (AIR, FAT, MUSCLE))
        below = np.minimum(sign * (values - points[0]), 0)
        above = np.maximum(sign * (values - points[2]), 0)
        return np.asarray(np.rint(inner + (below + above) / abs(self.scale)))

    def __str__(self) -> str:
        return self.name


HU = IntensityMapping()
"""The identity: the stored values are HU."""


def _single_precision(values: AnyArray) -> FloatArray:
    """Return values as float32; those beyond its range become infinite and are clipped later."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
