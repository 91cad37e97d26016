"""From the values that a file states to Hounsfield units: converted where sure, else refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.scan.levels import Levels, measure_levels
from pleura.scan.units import AIR, FAT, MUSCLE, UnitsEstimate, pool_levels

UnitsOption = Literal["auto", "hu", "offset", "grey", "inverted"]
LOWEST, HIGHEST = -1024, 32767
"""What HU are clipped to: nothing lies below air but padding."""

Floats = NDArray[np.floating[Any]]
Knee = tuple[float, float, float]

_BENT = 60  # HU that fat and muscle lie closer together, or farther apart, than they should
_TISSUE = (FAT + MUSCLE) / 2
_ABSURD = 8000  # metal reaches about 30000, but not in a twentieth of a slice
_WINDOW = (-1024.0, 600.0)  # assumed of a grey picture that shows neither air nor soft tissue


@dataclass(frozen=True)
class Line:
    """Stored values as ``scale * HU + offset``; ``name`` says it in words.

    ``knee`` are stored values of air, fat and muscle, where contrast was altered so that they lie
    on no line; beyond them the scale holds.
    """

    scale: float = 1.0
    offset: float = 0.0
    name: str = "HU"
    knee: Knee | None = None

    def to_hu(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Return values in HU, rounded and clipped to what int16 holds above -1024."""
        if self.knee is not None:
            values = self._bent(values.astype(np.float32), self.knee)
        elif self.scale != 1 or self.offset or values.dtype.kind == "f":
            values = np.rint((values.astype(np.float32) - self.offset) / self.scale)
        if values.dtype == np.int16:
            return np.asarray(np.maximum(values, np.int16(LOWEST)))
        return np.asarray(np.clip(values, LOWEST, HIGHEST), np.int16)

    def _bent(self, values: Floats, knee: Knee) -> Floats:
        sign = np.sign(self.scale)  # inverted pictures fall from air to muscle
        inner = np.interp(sign * values, sign * np.array(knee), (AIR, FAT, MUSCLE))
        below = np.minimum(sign * (values - knee[0]), 0) + np.maximum(sign * (values - knee[2]), 0)
        return np.asarray(np.rint(inner + below / abs(self.scale)))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class UnitsDecision:
    """How values become HU, why, and whether a person should look."""

    line: Line
    reason: str
    warning: bool


HU = Line()


def decide_units(
    slices: Sequence[NDArray[Any]], option: UnitsOption = "auto", stated: bool = False
) -> UnitsDecision:
    """Decide how the values of a scan become HU.

    Parameters
    ----------
    slices:
        Some axial slices (rows, columns) in the values that the file states.
    option:
        ``auto`` looks; ``hu`` takes the values as they are; ``offset`` takes 1024 from them;
        ``grey`` and ``inverted`` take them for grey pictures, air dark or bright.
    stated:
        Whether the file itself says that its values are HU, as DICOM does.

    Raises
    ------
    ScanError
        Nothing tells what the values mean, or they are absurd.
    """
    told = {"hu": HU, "offset": Line(1, 1024, "HU plus 1024")}.get(option)
    if told is not None:
        return UnitsDecision(told, "as told", warning=False)
    levels = [measure_levels(image) for image in slices]
    if option in ("grey", "inverted"):
        return _grey(slices, levels, option == "inverted", "as told.")
    _refuse_absurd(slices)
    if not stated and all(image.min() == image.max() for image in slices):
        raise ScanError(
            f"the picture is constant: every value is {slices[0].flat[0]:g}",
            where=None,
            fix="export the scan again",
        )
    units = pool_levels(levels)
    if units.kind == "HU":
        return UnitsDecision(HU, units.reason, warning=False)
    # What the file states is given up only for what cannot be chance.
    sure = units.scale == 1 or units.scale_from == "padding" or not stated
    if units.scale is not None and units.offset is not None and sure:
        line = Line(units.scale, units.offset, units.formula)
        return UnitsDecision(line, units.reason, warning=True)
    grey = units.kind == "grey" or (units.kind == "unknown" and _looks_grey(levels))
    if grey and not stated:
        return _grey(slices, levels, _is_inverted(slices), units.reason)
    return _as_stated(slices, units, stated)


def _refuse_absurd(slices: Sequence[NDArray[Any]]) -> None:
    high = float(np.median([np.percentile(image, 95) for image in slices]))
    low = float(np.median([np.percentile(image, 5) for image in slices]))
    if high > _ABSURD or high - low > 2 * _ABSURD or high < -900:
        raise ScanError(
            f"the values are no HU: a twentieth of them lies below {low:g} and above {high:g}",
            where=None,
            fix="export the scan again (signed and unsigned numbers mixed up?), or force --units",
        )


def _looks_grey(levels: Sequence[Levels]) -> bool:
    return all(one.eight_bit or (one.low >= -1 and one.high <= 1) for one in levels)


def _is_inverted(slices: Sequence[NDArray[Any]]) -> bool:
    """Tell whether air is bright: the maximum fills most of the rim and much of the picture."""
    votes = []
    for image in slices:
        span = float(np.ptp(image))
        bright = image >= image.max() - 0.03 * span
        rim = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
        votes.append(bool(rim.mean() > 0.5 and bright.mean() > 0.15))
    return sum(votes) > len(votes) / 2


def _grey(
    slices: Sequence[NDArray[Any]], levels: Sequence[Levels], inverted: bool, reason: str
) -> UnitsDecision:
    """Draw a line through air and soft tissue, or assume a window where they do not show."""
    low = float(min(image.min() for image in slices))
    high = float(max(image.max() for image in slices))
    top = 255.0 if low >= 0 and 1 < high <= 255 else max(high, 1.0) if low >= 0 else high
    bottom = min(low, 0.0)
    if inverted:
        levels = [measure_levels(top + bottom - image.astype(np.float32)) for image in slices]
    seen = [one for one in levels if one.air is not None]
    air, fat, muscle = _medians(seen) if seen else (low, high, high)
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
    line = Line(scale, offset, "inverted grey" if inverted else "grey", knee)
    return UnitsDecision(line, f"{reason} Taken to HU by {how}.", warning=True)


def _medians(levels: Sequence[Levels]) -> Knee:
    """Return the levels of air, fat and muscle in the middle of all."""
    found = np.array([(one.air, one.fat, one.muscle) for one in levels], float)
    air, fat, muscle = np.median(found, 0).tolist()
    return air, fat, muscle


def _as_stated(slices: Sequence[NDArray[Any]], units: UnitsEstimate, stated: bool) -> UnitsDecision:
    """Take values for HU that nothing but the file says so of, if that can be."""
    low = float(np.median([np.percentile(image, 1) for image in slices]))
    if stated or low <= -300:
        doubt = units.kind != "unknown" or not stated
        reason = f"{units.reason} The file's own values are taken for HU."
        return UnitsDecision(HU, reason, warning=doubt)
    raise ScanError(
        f"nothing tells what the values mean ({units.reason.rstrip('.')})",
        where=None,
        fix="say it: --units hu, offset (HU plus 1024), grey, or inverted",
    )
