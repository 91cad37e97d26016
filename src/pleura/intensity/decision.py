"""Choice of the conversion to HU; an error if the evidence is insufficient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.levels import Levels, measure_levels
from pleura.intensity.mapping import HU, ControlPoints, IntensityMapping, UnitsOption
from pleura.intensity.reference import AIR, ASSUMED_WINDOW, FAT, MUSCLE, SOFT_TISSUE
from pleura.intensity.units import SCALE_TOLERANCE, are_inverted, estimate_units_from_levels
from pleura.intensity.window import Window, find_contradiction

_FAT_TOLERANCE = 60  # HU by which the distance from fat to muscle may deviate
_MAX_PERCENTILE = 8000  # HU; metal has up to 30000, but not in a twentieth of a slice
_MAPPINGS: dict[UnitsOption, IntensityMapping] = {
    "hu": HU,
    "offset": IntensityMapping(1, 1024, "HU plus 1024"),
}


@dataclass(frozen=True)
class UnitsDecision:
    """Conversion of a scan's values to HU, with its reason.

    ``warning`` is True if the user should check the conversion.
    """

    mapping: IntensityMapping
    reason: str
    warning: bool


def decide_units(
    slices: Sequence[NDArray[Any]], option: UnitsOption = "auto", states_hu: bool = False
) -> UnitsDecision:
    """Decide how the values of a scan are converted to HU.

    Parameters
    ----------
    slices:
        Some axial slices (rows, columns), in the values that the header defines.
    option:
        ``auto`` estimates the units; ``hu`` keeps the values; ``offset`` subtracts 1024; ``grey``
        and ``inverted`` treat them as pictures in which air is dark or bright. A warning states
        strong evidence for other units.
    states_hu:
        Whether the header states that the values are HU, as DICOM does.

    Raises
    ------
    ScanError
        The units cannot be determined, the slices differ in units, or the values are not CT.
    ValueError
        The option is unknown.
    """
    if option not in get_args(UnitsOption):
        raise ValueError(f"units must be one of {', '.join(get_args(UnitsOption))}, not {option!r}")
    levels = [measure_levels(image) for image in slices]
    if option == "auto":
        return decide_units_from_levels(levels, states_hu)
    contradiction = _contradiction(levels, option, states_hu)
    reason = f"as requested{contradiction}"
    if option in _MAPPINGS:
        return UnitsDecision(_MAPPINGS[option], reason, warning=bool(contradiction))
    if option == "inverted":
        negative = [measure_levels(-image.astype(np.float64)) for image in slices]
        levels = [replace(a, inverted=b) for a, b in zip(levels, negative, strict=True)]
    decision = _map_picture(levels, option == "inverted", f"{reason}.")
    return replace(decision, warning=bool(contradiction))


def decide_by_window(
    slices: Sequence[NDArray[Any]], window: Window, grey: tuple[float, float]
) -> UnitsDecision:
    """Return the conversion by a window that the user states, with a warning if levels differ.

    Parameters
    ----------
    slices:
        Some axial slices (rows, columns).
    window:
        The window.
    grey:
        Grey values of its limits.

    Raises
    ------
    ScanError
        The values are constant.
    """
    bottom, top = grey
    if bottom == top:
        raise ScanError(
            f"the image is constant: every value is {bottom:g}",
            where=None,
            hint="export the scan again",
        )
    mapping = window.mapping(bottom, top)
    if window.inverted:
        slices, bottom, top = [-image.astype(np.float64) for image in slices], -top, -bottom
    contradiction = find_contradiction([*map(measure_levels, slices)], mapping, (bottom, top))
    darkest, brightest = window.limits
    reason = f"given by --window: {darkest:g} to {brightest:g} HU"
    if contradiction:
        reason += f", but {contradiction}"
    return UnitsDecision(mapping, reason, warning=bool(contradiction))


def decide_units_from_levels(
    levels: Sequence[Levels], states_hu: bool = False, units: UnitsEstimate | None = None
) -> UnitsDecision:
    """Decide how values are converted to HU from the levels of their slices.

    Parameters
    ----------
    levels:
        Levels of each slice.
    states_hu:
        As for `decide_units`.
    units:
        The result of `estimate_units_from_levels`, if it is known already.

    Raises
    ------
    ScanError
        As `decide_units`.
    """
    units = units or estimate_units_from_levels(levels, states_hu)
    if units.kind == "HU":
        return UnitsDecision(HU, units.reason, warning=False)
    if not states_hu and all(image.minimum == image.maximum for image in levels):
        raise ScanError(
            f"the image is constant: every value is {levels[0].minimum:g}",
            where=None,
            hint="export the scan again",
        )
    # Only strong evidence overrules the header.
    certain = _is_certain(units) or not states_hu
    if units.scale is not None and units.offset is not None and certain:
        mapping = IntensityMapping(
            units.scale, units.offset, units.formula, wraparound=units.wraparound
        )
        return UnitsDecision(mapping, units.reason, warning=True)
    _check_range(levels)
    if units.kind == "mixed":
        raise ScanError(
            f"the slices have different intensity units ({units.reason.rstrip('.')})",
            where=None,
            hint="convert all slices to HU, or pass --units hu to keep the values",
        )
    constant = all(image.piecewise_constant for image in levels)
    picture = units.kind == "grey" or (units.kind == "unknown" and _have_range_of_picture(levels))
    if picture and not states_hu and not constant:
        return _map_picture(levels, are_inverted(levels), units.reason)
    return _keep_values(levels, units, states_hu)


def _is_certain(units: UnitsEstimate) -> bool:
    """Return whether the evidence is strong enough to overrule a header or a user."""
    return units.scale == 1 or units.scale_from == "padding"


def _contradiction(levels: Sequence[Levels], option: UnitsOption, states_hu: bool) -> str:
    """Return a clause on strong evidence for other units than requested; empty if there is none."""
    units = estimate_units_from_levels(levels, states_hu)
    probable = units.reason.removeprefix("Not HU but ").rstrip(".")
    if units.kind == "grey" and _have_range_of_picture(levels):
        bright = sum(image.inverted is not None for image in levels)
        dark = sum(image.inverted is None and image.air is not None for image in levels)
        known = max(bright, dark) > len(levels) / 2
        shown = "inverted" if bright > dark else "grey"
        contradicts = option in _MAPPINGS or (known and option != shown)
        air = f"{'bright' if bright > dark else 'dark'} air"
        probable = f"grey values with {air}" if known else f"{probable[0].lower()}{probable[1:]}"
    else:
        mapping = _MAPPINGS.get(option)
        same = mapping is not None and (mapping.scale, mapping.offset) == (
            units.scale,
            units.offset,
        )
        contradicts = _is_certain(units) and (not same or units.wraparound is not None)
    return f", but the values are probably {probable}" if contradicts else ""


def _check_range(levels: Sequence[Levels]) -> None:
    """Raise if the range of the values is impossible for HU."""
    _, low, high = np.median([image.percentiles for image in levels], 0).tolist()
    if high > _MAX_PERCENTILE or high - low > 2 * _MAX_PERCENTILE or high < -900:
        raise ScanError(
            f"the values are not in HU: 5 % of them are below {low:g} and 5 % above {high:g}",
            where=None,
            hint="export the scan again with its values in HU, or "
            "pass --units hu, offset, grey or inverted",
        )


def _have_range_of_picture(levels: Sequence[Levels]) -> bool:
    return all(image.eight_bit or image.in_unit_range for image in levels)


def _map_picture(levels: Sequence[Levels], inverted: bool, reason: str) -> UnitsDecision:
    """Map air and soft tissue of a picture to their HU; assume a window if they are not found.

    Levels of an inverted picture are those of the picture mirrored in the range of its values.
    """
    low, high = min(image.minimum for image in levels), max(image.maximum for image in levels)
    top = 255.0 if low >= 0 and 1 < high <= 255 else max(high, 1.0) if low >= 0 else high
    bottom = min(low, 0.0)
    shown: Sequence[Levels | None] = [image.inverted for image in levels] if inverted else levels
    measured = [image for image in shown if image is not None and image.air is not None]
    air, fat, muscle = _median_levels(measured) if measured else (low, high, high)
    if inverted and measured:
        air, fat, muscle = (top + bottom + level for level in (air, fat, muscle))
    tissue = (fat + muscle) / 2
    points: ControlPoints | None = None
    if measured and tissue - air > 0.2 * (top - bottom):
        scale, method = (tissue - air) / (SOFT_TISSUE - AIR), "a line through air and soft tissue"
        offset = air - scale * AIR
        distance = muscle - fat
        bent = abs(distance - scale * (MUSCLE - FAT)) > _FAT_TOLERANCE * scale
        if bent and distance > 0.02 * (top - bottom):
            points = air, fat, muscle
            method = "a curve through air, fat and muscle, because the contrast was altered"
    else:
        scale = (top - bottom) / (ASSUMED_WINDOW[1] - ASSUMED_WINDOW[0])
        offset = bottom - scale * ASSUMED_WINDOW[0]
        method = f"an assumed window of {ASSUMED_WINDOW[0]:g} to {ASSUMED_WINDOW[1]:g} HU"
    if inverted:
        scale, offset = -scale, top + bottom - offset
        points = points and (top + bottom - air, top + bottom - fat, top + bottom - muscle)
    name = "inverted grey" if inverted else "grey"
    mapping = IntensityMapping(scale, offset, name, points, calibrated=False)
    return UnitsDecision(mapping, f"{reason} HU are estimated by {method}.", warning=False)


def _median_levels(levels: Sequence[Levels]) -> ControlPoints:
    """Return the medians of air, fat and muscle."""
    measured = np.array([(image.air, image.fat, image.muscle) for image in levels], float)
    air, fat, muscle = np.median(measured, 0).tolist()
    return air, fat, muscle


def _keep_values(levels: Sequence[Levels], units: UnitsEstimate, states_hu: bool) -> UnitsDecision:
    """Keep values as HU because the header states it, or because their range suggests it."""
    low = float(np.median([image.percentiles[0] for image in levels]))
    if states_hu or low <= -300:
        doubtful = not states_hu or not (units.kind == "unknown" or _is_near_hu(units))
        reason = f"{units.reason} The stored values are used as HU."
        return UnitsDecision(HU, reason, warning=doubtful)
    is_mask = all(one.piecewise_constant for one in levels)
    raise ScanError(
        f"cannot determine the intensity units ({units.reason.rstrip('.')})",
        where=None,
        hint="pass the CT first, then its mask"
        if is_mask
        else "pass --units hu, offset (HU plus 1024), grey or inverted",
    )


def _is_near_hu(units: UnitsEstimate) -> bool:
    """Return whether blankets and the couch, which are brighter than air, explain the scale."""
    return units.scale_from == "air" and abs((units.scale or 0) - 1) < SCALE_TOLERANCE
