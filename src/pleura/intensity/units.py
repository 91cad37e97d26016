"""Whether stored values are Hounsfield units (HU), told from the pixels alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.intensity.levels import ALIKE, Levels, Noise, Wrap, measure_levels

Kind = Literal["HU", "scaled HU", "offset HU", "wrapped HU", "grey", "mixed", "unknown"]
ScaleFrom = Literal["padding", "air", "tissue"]

# Where CT stands, in HU. Fat and muscle are the two peaks of soft tissue.
AIR, FAT, MUSCLE = -1000.0, -105.0, 45.0
PADDING = (-3024, -2048, -2000, -32768)  # outside the field of view; -1024 is too close to air
OFFSETS = (1024.0, 1000.0, 8192.0, 32768.0, -1024.0)  # intercepts left out, or taken twice

FAT_TO_MUSCLE, BONE, SHARP = (0.1, 0.22), (0.006, 0.15), 0.6
"""How CT looks, whatever its units: the distance from fat to muscle, of that from air to soft
tissue (0.155 in HU); the fraction of the body that is bone; the fraction of homogeneous soft tissue
that is at one of the two levels. All slices of three whole scans and 6 of 7 single slices of
hospital scans are within."""

DOUBTFUL = 0.15
"""A factor of air alone that differs from 1 by less: blankets and the couch are brighter too."""

_SCATTERED = (
    "Grey values, not HU: fat and muscle have other values in every image, "
    "as if each was scaled by itself."
)


@dataclass(frozen=True)
class PaddingLevel:
    """A stored ``level`` outside the scanner's field of view, and the HU it stands for."""

    level: float
    hu: int | None
    images: int


@dataclass(frozen=True)
class UnitsEstimate:
    """The units of a set of slices, with a ``reason`` in a sentence.

    Where the kind is a HU, ``stored = scale * HU + offset``; the scale rests on padding levels (to
    about 0.2 %), on air (to about 3 %), or on soft tissue (to about 10 %). ``wrap`` restores the
    sign of the stored values first. ``noise`` is white noise that no scanner wrote. ``differing``
    are the positions of images whose own levels contradict.
    """

    kind: Kind
    reason: str
    scale: float | None = None
    offset: float | None = None
    scale_from: ScaleFrom | None = None
    wrap: Wrap | None = None
    noise: Noise | None = None
    noise_in: Literal["padding", "air"] | None = None
    air: float | None = None
    fat: float | None = None
    muscle: float | None = None
    padding: tuple[PaddingLevel, ...] = ()
    differing: tuple[int, ...] = ()

    @property
    def formula(self) -> str:
        """How stored values come from HU, in words; of other kinds the kind itself."""
        if self.scale is None or self.offset is None or self.kind == "HU":
            return self.kind
        times = f"{self.scale:.4g}" if self.scale_from == "padding" else f"about {self.scale:.2g}"
        sign = "plus" if self.offset > 0 else "minus"
        return (
            "HU"
            + (f" times {times}" if self.scale != 1 else "")
            + (f" {sign} {abs(self.offset):.6g}" if self.offset else "")
            + (f" with lost signs (modulo {self.wrap.modulus})" if self.wrap else "")
        )


def estimate_units(images: Iterable[NDArray[Any]]) -> UnitsEstimate:
    """Estimate the units of CT slices, each (rows, columns) of any numeric dtype, one at a time."""
    return pool_levels([measure_levels(image) for image in images])


def pool_levels(levels: Sequence[Levels], stated: bool = False) -> UnitsEstimate:
    """Estimate the units of a set from the levels of its images.

    This is the one rule for every reader, for `check`, and for training sets. Where the file has
    ``stated`` that it is a CT in HU, an offset needs no evidence that it is no other modality.
    """
    wrapped = _wrapped(levels)
    if wrapped is not None:
        return wrapped
    if levels and all(one.flat for one in levels):
        units = _pool(levels, stated)
        return units if units.kind == "HU" else UnitsEstimate("unknown", _LABELS)
    return _pool(levels, stated)


_LABELS = "Unknown: equal values over whole areas, as in a mask or label map, not a CT."


def _wrapped(levels: Sequence[Levels]) -> UnitsEstimate | None:
    """Return HU whose signs were lost, where restoring them gives just HU or a known offset."""
    wraps = [one.wrap for one in levels if one.wrap is not None]
    if not wraps or len(wraps) < 0.5 * len(levels):
        return None
    wrap = max(set(wraps), key=wraps.count)
    restored = [
        one.wrapped if one.wrap == wrap and one.wrapped is not None else one for one in levels
    ]
    units = _pool(restored)
    if units.kind not in ("HU", "offset HU"):
        return None
    why = "signed numbers were read as unsigned ones"
    if wrap.low == 0:
        why = "unsigned numbers were read as signed ones"
    units = replace(units, kind="wrapped HU", wrap=wrap)
    reason = f"Not HU but {units.formula}: {why}; air, fat and muscle are as in HU once restored."
    return replace(units, reason=reason)


def _pool(levels: Sequence[Levels], stated: bool = False) -> UnitsEstimate:
    grey = [i for i, one in enumerate(levels) if one.eight_bit or _from_0_to_1(one)]
    told = sorted({i for i, one in enumerate(levels) if one.air is not None} - set(grey))
    if not grey and not told:
        if _tissue_in_hu(levels):
            return UnitsEstimate("HU", _NO_AIR, scale=1.0, offset=0.0)
        return UnitsEstimate("unknown", "Unknown: no air was found around any patient.")
    groups = _alike_groups(levels, told)
    parts = [(part, _units_of([levels[i] for i in part], stated)) for part in groups]
    if _each_on_its_own(parts):
        return UnitsEstimate("grey", _SCATTERED)
    parts += [(grey, _grey([levels[i] for i in grey]))] if grey else []
    parts.sort(key=lambda part: len(part[0]), reverse=True)

    main, units = parts[0]
    # Where lung reaches the rim it passes for air: one or two such images are no other unit.
    enough = max(3, 0.15 * len(levels))
    others = [
        (part, one) for part, one in parts[1:] if len(part) >= enough and _other_units(one, units)
    ]
    rest = {*told, *grey} - set(main)
    differing = {i for i in rest if i in grey or _contradicts(levels[i], units)}
    differing.update(i for part, _ in others for i in part)
    if others and units.kind != "unknown":
        counts = [f"{len(part)} images are {one.formula}" for part, one in [parts[0], *others]]
        units = UnitsEstimate("mixed", f"A mixture: {'; '.join(counts)}.")
    return replace(units, differing=tuple(sorted(differing)))


_NO_AIR = "HU: fat and muscle have their HU; no air was found around the patient."


def _tissue_in_hu(levels: Sequence[Levels]) -> bool:
    """Tell whether fat, muscle and the dark parts of a cropped scan are where HU have them."""
    if not levels:
        return False
    fat, muscle = (float(np.median([getattr(one, n) for one in levels])) for n in ("fat", "muscle"))
    low = float(np.median([one.percentiles[1] for one in levels]))
    return abs(fat - FAT) < 45 and abs(muscle - MUSCLE) < 45 and -3100 < low < -500  # or padding


def _other_units(one: UnitsEstimate, main: UnitsEstimate) -> bool:
    """Tell whether two groups of images differ in units, and not only in how air was found."""
    if one.kind == "unknown" or one.formula == main.formula:
        return False
    if one.scale is None or main.scale is None or one.offset != main.offset:
        return True
    return abs(one.scale / main.scale - 1) >= DOUBTFUL


def _each_on_its_own(parts: Sequence[tuple[list[int], UnitsEstimate]]) -> bool:
    """Tell whether images share no line: too scattered, or on several that no file format makes."""
    if not parts:
        return False
    total = sum(len(part) for part, _ in parts)
    main, units = parts[0]
    return (
        units.kind == "grey" or len(main) < (0.9 if units.scale_from == "tissue" else 0.3) * total
    )


def _from_0_to_1(levels: Levels) -> bool:
    return levels.low >= -1 and levels.high <= 1


def _grey(levels: Sequence[Levels]) -> UnitsEstimate:
    low, high = min(one.low for one in levels), max(one.high for one in levels)
    bits = "of 8 bits, " if all(one.eight_bit for one in levels) else ""
    return UnitsEstimate("grey", f"Grey values, not HU: {bits}between {low:g} and {high:g}.")


def _alike_groups(levels: Sequence[Levels], told: Sequence[int]) -> list[list[int]]:
    """Group images whose air and tissue stand alike, the largest group first."""
    air = np.array([levels[i].air for i in told], np.float64)
    tissue = np.array([(levels[i].fat + levels[i].muscle) / 2 for i in told])
    left = np.ones(len(told), np.bool_)
    groups = []
    while left.any():
        # A hundred candidates find any group that matters, also among many thousand images.
        candidates = np.flatnonzero(left)[:: 1 + int(left.sum()) // 100]
        near = [
            left
            & (np.abs(air - air[k]) <= ALIKE * (tissue[k] - air[k]))
            & (np.abs(tissue - tissue[k]) <= 3 * ALIKE * (tissue[k] - air[k]))
            for k in candidates
        ]
        group = max(near, key=lambda flags: int(flags.sum()))
        groups.append([i for i, taken in zip(told, group, strict=True) if taken])
        left &= ~group
    return sorted(groups, key=len, reverse=True)


def _units_of(levels: Sequence[Levels], stated: bool) -> UnitsEstimate:
    """Estimate the units of images that share them."""
    air = float(np.median([one.air for one in levels if one.air is not None]))
    fat = float(np.median([one.fat for one in levels]))
    muscle = float(np.median([one.muscle for one in levels]))
    if muscle - fat > 0.5 * (fat - air):
        return UnitsEstimate("unknown", "Unknown: air, fat and muscle are not spaced as in CT.")

    scale, offset, scale_from = _line(air, (fat + muscle) / 2)
    if scale_from == "tissue" and _scatter(levels) > 0.035 * (muscle - air):
        return UnitsEstimate("grey", _SCATTERED)
    padded = [
        one for one in levels if one.corner is not None and one.corner < air - (muscle - air) / 4
    ]
    padding: tuple[PaddingLevel, ...] = ()
    if scale_from == "air":
        corners = [one.corner for one in padded if one.corner is not None]
        padding, refined = _known_padding(corners, scale, offset)
        if refined is not None:
            scale, scale_from = refined, "padding"
    if scale_from != "padding" and (scale != 1 or offset):
        known = scale_from == "air"
        if not (known and stated) and not _looks_like_ct(levels, 2 if known else 1):
            return UnitsEstimate("unknown", _NOT_CT)
    if abs(scale - 1) < (0.005 if scale_from == "padding" else ALIKE):
        scale = 1.0
    elif np.median([one.floor for one in levels]) > 0.5:
        return UnitsEstimate("unknown", f"Unknown: values are clipped at {air:g}, so air is lost.")
    noise, noise_in = _added_noise(levels, padded, scale)
    estimate = UnitsEstimate(
        kind="scaled HU" if scale != 1 else "offset HU" if offset else "HU",
        reason="",
        scale=scale,
        offset=offset,
        scale_from=scale_from,
        noise=noise,
        noise_in=noise_in,
        air=air,
        fat=fat,
        muscle=muscle,
        padding=padding,
    )
    return replace(estimate, reason=_sentence(estimate))


_NOT_CT = "Unknown: fat, muscle and bone are not as in CT; perhaps it is MR or PET."


def _looks_like_ct(levels: Sequence[Levels], tolerance: float) -> bool:
    """Tell whether fat, muscle and bone are as in CT, whatever the units.

    In MR fat is brighter than muscle, and bone is dark; in PET neither stands out. A larger
    ``tolerance`` suffices where the levels also lie on known HU.
    """
    gaps = [
        (one.muscle - one.fat) / ((one.fat + one.muscle) / 2 - one.air)
        for one in levels
        if one.air is not None
    ]
    bone = float(np.median([one.bone for one in levels]))
    sharp = float(np.median([one.sharp for one in levels]))
    outside = float(np.mean([one.fat_outside for one in levels]))
    low, high = FAT_TO_MUSCLE[0] / tolerance**2, FAT_TO_MUSCLE[1] * tolerance**0.5
    return bool(
        low < np.median(gaps) < high
        and BONE[0] / tolerance < bone < BONE[1] * tolerance
        and sharp > SHARP / tolerance
        and outside >= 0.5
    )


def _scatter(levels: Sequence[Levels]) -> float:
    """Return how far fat and muscle both wander from image to image: less than 3 % of HU's span."""
    peaks = np.array([(one.fat, one.muscle) for one in levels])
    return float(np.ptp(np.percentile(peaks, (25, 75), axis=0), axis=0).min())


def _line(air: float, tissue: float) -> tuple[float, float, ScaleFrom]:
    """Return scale and offset, through a known offset where air and tissue allow one."""
    middle = (FAT + MUSCLE) / 2
    if air < 0 and -0.15 < tissue / -air < 0.25:  # all that fat, muscle and contrast medium reach
        return air / AIR, 0.0, "air"
    known = min(OFFSETS, key=lambda k: abs(air - AIR - k) + abs(tissue - middle - k))
    if abs(air - AIR - known) < 60 and abs(tissue - known) < 150:
        return 1.0, known, "air"
    scale = (tissue - air) / (middle - AIR)
    return scale, air - AIR * scale, "tissue"


def _known_padding(
    corners: Sequence[float], scale: float, offset: float
) -> tuple[tuple[PaddingLevel, ...], float | None]:
    """Name the padding levels, and refine the scale to what brings most of them to known HU."""
    ordered = np.sort(corners)
    steps = np.diff(ordered) > 0.005 * np.abs(ordered[1:] - offset)
    clusters = [c for c in np.split(ordered, np.flatnonzero(steps) + 1) if c.size]
    found = [(float(np.median(cluster)), len(cluster)) for cluster in clusters]
    best: tuple[int, float, dict[float, int]] = (0, 0.0, {})
    # 1 first, and kept unless another factor names more: air clipped at -1024 hides the factor.
    for factor in (1.0, *((level - offset) / hu for level, _ in found for hu in PADDING)):
        if abs(factor / scale - 1) > ALIKE:
            continue
        names = {
            level: hu
            for level, _ in found
            for hu in PADDING
            if abs(level - offset - factor * hu) < 0.004 * abs(factor * hu)
        }
        images = sum(n for level, n in found if level in names)
        nearness = 0.0 if factor == 1 else -abs(factor - scale)
        best = max(best, (images, nearness, names), key=lambda b: b[:2])
    images, _, names = best
    padding = tuple(PaddingLevel(level, names.get(level), n) for level, n in found)
    if not images:
        return padding, None
    factors = [p.images * (p.level - offset) / p.hu for p in padding if p.hu is not None]
    return padding, sum(factors) / images


def _added_noise(
    levels: Sequence[Levels], padded: Sequence[Levels], scale: float
) -> tuple[Noise | None, Literal["padding", "air"] | None]:
    """Find noise that no scanner wrote: in padding any, in air strong noise without correlation."""
    in_padding = _median_noise([one.corner_noise for one in padded])
    if in_padding is not None:
        return (in_padding, "padding") if in_padding.sd > 2 * scale else (None, None)
    in_air = _median_noise([one.air_noise for one in levels])
    if in_air is not None and in_air.sd > 20 * scale and abs(in_air.correlation) < 0.06:
        return in_air, "air"
    return None, None


def _median_noise(noises: Sequence[Noise | None]) -> Noise | None:
    seen = [(noise.sd, noise.correlation) for noise in noises if noise is not None]
    return Noise(*(float(value) for value in np.median(seen, axis=0))) if seen else None


def _contradicts(levels: Levels, units: UnitsEstimate) -> bool:
    """Tell whether an image cannot share a set's units.

    Lung may stand in for air that is missing, but not where the corners stand on it too.
    """
    if levels.air is None or units.air is None or units.fat is None or units.muscle is None:
        return False
    tissue = (units.fat + units.muscle) / 2
    span = tissue - units.air
    higher = (levels.air - units.air) / span
    apart = abs((levels.fat + levels.muscle) / 2 - tissue) / span
    certain = levels.corner is not None and abs(levels.corner - levels.air) < ALIKE * span
    return not -ALIKE < higher < (2 * ALIKE if certain else 0.25) or apart > 0.25


def _sentence(units: UnitsEstimate) -> str:
    known = [level for level in units.padding if level.hu is not None]
    levels = [f"air is at {units.air:.0f}"]
    if units.kind == "HU":
        levels += [f"fat at {units.fat:.0f}", f"muscle at {units.muscle:.0f}"]
    if known:
        levels.append(f"padding at {_and([f'{level.level:.0f}' for level in known])}")
    text = f"{'' if units.kind == 'HU' else 'Not HU but '}{units.formula}: {', '.join(levels)}"
    if units.kind != "HU":
        text += f", where scanners write {_and(['-1000', *(str(level.hu) for level in known)])}"
    if units.noise is not None:
        text += f". White noise with an SD of {units.noise.sd:.0f} was added"
        text += ", also in the padding" if units.noise_in == "padding" else ""
    return text + "."


def _and(words: Sequence[str]) -> str:
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])
