"""From the values that a file states to Hounsfield units: converted where sure, else refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.intensity.levels import Levels, Wrap, measure_levels
from pleura.intensity.units import AIR, DOUBTFUL, FAT, MUSCLE, UnitsEstimate, pool_levels
from pleura.typing import AnyArray, FloatArray

UnitsOption = Literal["auto", "hu", "offset", "grey", "inverted"]
LOWEST, HIGHEST = -1024, 32767
"""What HU are clipped to: nothing lies below air but padding."""

Knee = tuple[float, float, float]

_BENT = 60  # HU that fat and muscle lie closer together, or farther apart, than they should
_TISSUE = (FAT + MUSCLE) / 2
_ABSURD = 8000  # metal reaches about 30000, but not in a twentieth of a slice
_WINDOW = (-1024.0, 600.0)  # assumed of a grey picture that shows neither air nor soft tissue


@dataclass(frozen=True)
class IntensityMapping:
    """Conversion between stored values and HU: ``stored = scale * HU + offset``.

    Attributes
    ----------
    scale, offset:
        The inverse of a rescale slope and intercept (DICOM PS3.3 C.11.1).
    name:
        Description of the stored values for messages, for example ``HU plus 1024``.
    knee:
        Stored values of air, fat and muscle, where altered contrast makes the conversion piecewise
        linear between them; the scale applies below air and above muscle. None if linear.
    wrap:
        Restores lost signs before the conversion. None if no sign was lost.
    calibrated:
        Whether the HU can be measured: True for HU and for HU with an offset, a factor or lost
        signs; False where HU are estimated from the gray levels of a picture.
    """

    scale: float = 1.0
    offset: float = 0.0
    name: str = "HU"
    knee: Knee | None = None
    wrap: Wrap | None = None
    calibrated: bool = True

    def to_hu(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Return values in HU, rounded and clipped to what int16 holds above -1024."""
        if self.wrap is not None:
            values = self.wrap.undo(values)
        if self.knee is not None:
            values = self._bent(_single_precision(values), self.knee)
        elif self.scale != 1 or self.offset or values.dtype.kind == "f":
            values = np.rint((_single_precision(values) - self.offset) / self.scale)
        if values.dtype == np.int16:
            return np.asarray(np.maximum(values, np.int16(LOWEST)))
        return np.asarray(np.clip(values, LOWEST, HIGHEST), np.int16)

    def _bent(self, values: NDArray[np.floating[Any]], knee: Knee) -> NDArray[np.floating[Any]]:
        sign = np.sign(self.scale)  # inverted pictures fall from air to muscle
        inner = np.interp(sign * values, sign * np.array(knee), (AIR, FAT, MUSCLE))
        below = np.minimum(sign * (values - knee[0]), 0) + np.maximum(sign * (values - knee[2]), 0)
        return np.asarray(np.rint(inner + below / abs(self.scale)))

    def __str__(self) -> str:
        return self.name


def _single_precision(values: AnyArray) -> FloatArray:
    """Return values as float32; those beyond its range become infinite and are clipped later."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


@dataclass(frozen=True)
class UnitsDecision:
    """The conversion of a scan's values to HU, with its reason.

    ``warning`` is True where a person should check the conversion.
    """

    mapping: IntensityMapping
    reason: str
    warning: bool


HU = IntensityMapping()


def decide_units(
    slices: Sequence[NDArray[Any]], option: UnitsOption = "auto", stated: bool = False
) -> UnitsDecision:
    """Decide how the values of a scan become HU.

    Parameters
    ----------
    slices:
        Some axial slices (rows, columns) in the values that the file states.
    option:
        ``auto`` estimates the units; ``hu`` takes the values as they are; ``offset`` subtracts
        1024; ``grey`` and ``inverted`` take them for grey pictures, air dark or bright.
    stated:
        Whether the file itself states that its values are HU, as DICOM does.

    Raises
    ------
    ScanError
        The units cannot be determined, the slices differ in units, or the values are no CT.
    """
    requested = {"hu": HU, "offset": IntensityMapping(1, 1024, "HU plus 1024")}.get(option)
    if requested is not None:
        return UnitsDecision(requested, "as requested", warning=False)
    levels = [measure_levels(image) for image in slices]
    if option == "inverted":
        negative = [measure_levels(-image.astype(np.float64)) for image in slices]
        levels = [replace(one, inverse=n) for one, n in zip(levels, negative, strict=True)]
    if option != "auto":
        return _grey(levels, option == "inverted", "as requested.")
    return decide_levels(levels, stated)


def decide_levels(
    levels: Sequence[Levels], stated: bool = False, units: UnitsEstimate | None = None
) -> UnitsDecision:
    """Decide how values become HU from the levels of their slices, as `decide_units`.

    ``units`` is what `pool_levels` makes of the levels, where that is known already.

    Raises
    ------
    ScanError
        As `decide_units`.
    """
    units = units or pool_levels(levels, stated)
    if units.kind == "HU":
        return UnitsDecision(HU, units.reason, warning=False)
    if not stated and all(one.low == one.high for one in levels):
        raise ScanError(
            f"the picture is constant: every value is {levels[0].low:g}",
            where=None,
            hint="export the scan again",
        )
    # What the file states is given up only for what cannot be chance.
    sure = units.scale == 1 or units.scale_from == "padding" or not stated
    if units.scale is not None and units.offset is not None and sure:
        mapping = IntensityMapping(units.scale, units.offset, units.formula, wrap=units.wrap)
        return UnitsDecision(mapping, units.reason, warning=True)
    _refuse_absurd(levels)
    if units.kind == "mixed":
        raise ScanError(
            f"the slices differ in units ({units.reason.rstrip('.')})",
            where=None,
            hint="convert all slices to HU, or pass --units hu to take the values as they are",
        )
    flat = all(one.flat for one in levels)
    grey = units.kind == "grey" or (units.kind == "unknown" and _looks_grey(levels))
    if grey and not stated and not flat:
        inverted = sum(one.inverse is not None for one in levels) > len(levels) / 2
        return _grey(levels, inverted, units.reason)
    return _as_stated(levels, units, stated)


def _refuse_absurd(levels: Sequence[Levels]) -> None:
    _, low, high = np.median([one.percentiles for one in levels], 0).tolist()
    if high > _ABSURD or high - low > 2 * _ABSURD or high < -900:
        raise ScanError(
            f"the values are not HU: 5 % of them are below {low:g} and 5 % above {high:g}",
            where=None,
            hint="export the scan again with its values in HU, or "
            "pass --units hu, offset, grey or inverted",
        )


def _looks_grey(levels: Sequence[Levels]) -> bool:
    return all(one.eight_bit or (one.low >= -1 and one.high <= 1) for one in levels)


def _grey(levels: Sequence[Levels], inverted: bool, reason: str) -> UnitsDecision:
    """Draw a line through air and soft tissue, or assume a window where they were not found."""
    low, high = min(one.low for one in levels), max(one.high for one in levels)
    top = 255.0 if low >= 0 and 1 < high <= 255 else max(high, 1.0) if low >= 0 else high
    bottom = min(low, 0.0)
    shown: Sequence[Levels | None] = [one.inverse for one in levels] if inverted else levels
    seen = [one for one in shown if one is not None and one.air is not None]
    air, fat, muscle = _medians(seen) if seen else (low, high, high)
    if inverted and seen:  # of negated values; from here on of those mirrored in the range
        air, fat, muscle = (top + bottom + one for one in (air, fat, muscle))
    tissue = (fat + muscle) / 2
    knee: Knee | None = None
    if seen and tissue - air > 0.2 * (top - bottom):
        scale, how = (tissue - air) / (_TISSUE - AIR), "a line through air and soft tissue"
        offset = air - scale * AIR
        apart = muscle - fat
        if abs(apart - scale * (MUSCLE - FAT)) > _BENT * scale and apart > 0.02 * (top - bottom):
            knee = air, fat, muscle
            how = "air, fat and muscle, which lie on no line: the contrast was altered"
    else:
        scale = (top - bottom) / (_WINDOW[1] - _WINDOW[0])
        offset = bottom - scale * _WINDOW[0]
        how = f"an assumed window of {_WINDOW[0]:g} to {_WINDOW[1]:g} HU"
    if inverted:
        scale, offset = -scale, top + bottom - offset
        knee = knee and (top + bottom - air, top + bottom - fat, top + bottom - muscle)
    name = "inverted grey" if inverted else "grey"
    mapping = IntensityMapping(scale, offset, name, knee, calibrated=False)
    return UnitsDecision(mapping, f"{reason} Converted to HU by {how}.", warning=True)


def _medians(levels: Sequence[Levels]) -> Knee:
    """Return the levels of air, fat and muscle in the middle of all."""
    found = np.array([(one.air, one.fat, one.muscle) for one in levels], float)
    air, fat, muscle = np.median(found, 0).tolist()
    return air, fat, muscle


def _as_stated(levels: Sequence[Levels], units: UnitsEstimate, stated: bool) -> UnitsDecision:
    """Take values for HU because the file states so, or because their range suggests it."""
    low = float(np.median([one.percentiles[0] for one in levels]))
    if stated or low <= -300:
        doubt = not stated or not (units.kind == "unknown" or _near_hu(units))
        reason = f"{units.reason} The file's own values are taken for HU."
        return UnitsDecision(HU, reason, warning=doubt)
    raise ScanError(
        f"cannot determine the intensity units ({units.reason.rstrip('.')})",
        where=None,
        hint="pass --units hu, offset (HU plus 1024), grey or inverted",
    )


def _near_hu(units: UnitsEstimate) -> bool:
    """Tell whether a factor is within what blankets and couches make of the level of air."""
    return units.scale_from == "air" and abs((units.scale or 0) - 1) < DOUBTFUL
