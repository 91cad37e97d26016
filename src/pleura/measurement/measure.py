"""Measures of both lungs, the right and the left, for a scan and for each of its slices.

Densities as the literature on quantitative CT has them; docs/explanation/measurements.md gives the
sources. What cannot be told is None, with a flag that says why: never a guess, never a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.formats.read import read
from pleura.intensity.mapping import HU
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan
from pleura.segmentation.flags import LARGE

PERCENTILES = (5, 15, 50, 95)
LOW_ATTENUATION = (-950, -910, -856)
"""HU: emphysema at -950 (Gevenois 1996), mild at -910, trapped air in expiration at -856."""

HIGH_ATTENUATION = (-600, -250)
"""HU: interstitial lung abnormality (Lederer 2009)."""

AERATION = {
    "hyperinflated": (-1024, -900),
    "normally_aerated": (-900, -500),
    "poorly_aerated": (-500, -100),
    "not_aerated": (-100, 100),
}
"""HU, lower end in, upper end out (Gattinoni 2001); vessels count as not aerated."""

AIR_DENSITY = 1.1e-3
"""g / ml of air in the lung, at body temperature and sea level."""

BINS = np.arange(-1024, 201, 8)
"""HU: edges of the histogram; what lies beyond counts in the last bins."""


@dataclass(frozen=True)
class Densities:
    """Of a set of voxels, in HU, and shares of 1."""

    mean: float
    sd: float
    percentiles: dict[str, float]
    """As ``Perc15``: linear between neighbours, NumPy's default."""
    low_attenuation: dict[str, float]
    """As ``LAA-950``: the share below."""
    high_attenuation: float
    aeration: dict[str, float]
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class RegionMeasures:
    """Of one lung, or both; what hangs on millimetres is None where the spacing is not known."""

    region: str
    voxels: int
    volume_ml: float | None
    tissue_g: float | None
    air_g: float | None
    densities: Densities | None
    extent_mm: tuple[float, float, float] | None
    """From right to left, front to back, foot to head."""
    centroid_mm: tuple[float, float, float] | None
    """LPS, as DICOM."""
    thirds: dict[str, dict[str, float | None]]
    """Of the extent: basal, middle, apical; front, centre, back: share of the voxels, mean HU."""


@dataclass(frozen=True)
class SliceMeasures:
    """Of one lung, or both, in one axial slice."""

    slice: int
    region: str
    area_px: int
    area_mm2: float | None
    share_of_slice: float
    mean: float | None
    percentiles: dict[str, float]


@dataclass(frozen=True)
class Measurement:
    """All of a scan."""

    scan: str
    regions: tuple[RegionMeasures, ...]
    slices: tuple[SliceMeasures, ...]
    flags: dict[str, str]
    labels: str = ""
    """How the labels of the mask were interpreted."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


def measure(scan: Scan | str | Path, mask: Mask | str | Path) -> Measurement:
    """Measure the lungs of a scan under a mask; each of them may be a path.

    Slices are axial, counted from the foot. Without sides there is one region, ``lungs``.

    Raises
    ------
    ScanError, DataError
        Scan or mask cannot be read, or the mask lies on another grid.
    """
    scan = scan if isinstance(scan, Scan) else read(scan)
    if not isinstance(mask, Mask):
        mask = read_mask(mask, scan)
    elif not mask.geometry.fits(scan.geometry):
        raise DataError(
            f"mask and scan lie on different grids: {mask.geometry.difference(scan.geometry)}",
            where=scan.name,
            hint="give the mask that was drawn on this scan",
        )
    order = scan.geometry.to_canonical()
    geometry = order.apply_to(scan.geometry)
    hu, labels = order.apply(scan.hu()), order.apply(mask.labels)
    regions = {"lungs": labels > 0}
    if mask.sides:
        regions |= {"right": labels == RIGHT, "left": labels == LEFT}
    return Measurement(
        scan=scan.name,
        regions=tuple(_region(name, inside, hu, geometry) for name, inside in regions.items()),
        slices=tuple(
            one for name, inside in regions.items() for one in _slices(name, inside, hu, geometry)
        ),
        flags={**dict(_flags(scan, labels, geometry)), **_mask_flags(mask)},
        labels=next((str(d) for d in mask.decisions if d.topic == "labels"), ""),
    )


def _mask_flags(mask: Mask) -> dict[str, str]:
    warned = {d.topic: str(d) for d in mask.decisions if d.warning and d.topic == "labels"}
    return warned | {flag.name: flag.message for flag in mask.flags}


def _region(
    name: str, inside: NDArray[np.bool_], hu: NDArray[np.int16], geometry: Geometry
) -> RegionMeasures:
    values = hu[inside]
    if not len(values):
        return RegionMeasures(name, 0, None, None, None, None, None, None, {})
    known = geometry.spacing_known
    ml = len(values) * geometry.voxel_volume
    # A voxel of HU holds (HU + 1000) / 1000 of tissue at 1 g/ml, the rest is air.
    tissue = float(np.clip(values / 1000 + 1, 0, None).mean())
    index = np.argwhere(inside)
    spans = index.max(0) - index.min(0) + 1
    extent = tuple(float(n * s) for n, s in zip(spans, geometry.spacing, strict=True))
    x, y, z = (float(v) for v in geometry.world(index.mean(0)))
    return RegionMeasures(
        region=name,
        voxels=len(values),
        volume_ml=ml if known else None,
        tissue_g=ml * tissue if known else None,
        air_g=ml * max(1 - tissue, 0) * AIR_DENSITY if known else None,
        densities=densities_of(values),
        extent_mm=(extent[2], extent[1], extent[0]) if known else None,
        centroid_mm=(x, y, z) if known else None,
        thirds=_thirds(index, values),
    )


def densities_of(values: NDArray[np.int16]) -> Densities:
    """Return the densities of HU values (n,), n > 0."""
    shares = {
        name: float(np.mean((values >= a) & (values < b))) for name, (a, b) in AERATION.items()
    }
    low, high = HIGH_ATTENUATION
    counts, _ = np.histogram(np.clip(values, BINS[0], BINS[-1]), BINS)
    return Densities(
        mean=float(values.mean(dtype=np.float64)),
        sd=float(values.std(dtype=np.float64)),
        percentiles=_percentiles(values),
        low_attenuation={f"LAA{hu}": float(np.mean(values < hu)) for hu in LOW_ATTENUATION},
        high_attenuation=float(np.mean((values >= low) & (values <= high))),
        aeration=shares,
        histogram=tuple(int(n) for n in counts),
    )


def _percentiles(values: NDArray[np.int16]) -> dict[str, float]:
    found = np.percentile(values, PERCENTILES)
    return {f"Perc{q:02d}": float(v) for q, v in zip(PERCENTILES, found, strict=True)}


def _thirds(
    index: NDArray[np.int64], values: NDArray[np.int16]
) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for axis, names in ((0, ("basal", "middle", "apical")), (1, ("front", "centre", "back"))):
        place = index[:, axis]
        first, span = int(place.min()), int(np.ptp(place)) + 1
        third = np.minimum((place - first) * 3 // span, 2)
        for i, name in enumerate(names):
            chosen = values[third == i]
            mean = float(chosen.mean()) if len(chosen) else None
            found[name] = {"share": len(chosen) / len(values), "mean": mean}
    return found


def _slices(
    name: str, inside: NDArray[np.bool_], hu: NDArray[np.int16], geometry: Geometry
) -> Iterator[SliceMeasures]:
    _, row, column = geometry.spacing
    for i in np.flatnonzero(inside.any((1, 2))):
        values = hu[i][inside[i]]
        yield SliceMeasures(
            slice=int(i),
            region=name,
            area_px=len(values),
            area_mm2=len(values) * row * column if geometry.spacing_known else None,
            share_of_slice=len(values) / inside[i].size,
            mean=float(values.mean(dtype=np.float64)),
            percentiles=_percentiles(values),
        )


def _flags(scan: Scan, labels: NDArray[np.uint8], geometry: Geometry) -> Iterator[tuple[str, str]]:
    if not labels.any():
        yield "no lung", "the mask is empty: nothing is measured"
    ml = int(np.count_nonzero(labels)) * geometry.voxel_volume
    if scan.is_volume and geometry.spacing_known and ml > LARGE:
        yield "volume", f"{ml:.0f} ml of lung in all, more than the largest adult has"
    if not geometry.spacing_known:
        yield "spacing", "not known: pixels and voxels only, no mm"
    if scan.intensity != HU:
        yield "units", f"the scan's values were {scan.intensity}: densities depend on that mapping"
    if scan.is_volume and geometry.spacing_known and geometry.spacing[0] > _THICK:
        yield "thick", f"slices {geometry.spacing[0]:g} mm apart: densities are averages over them"
    ends = labels[[0, -1]].any() if scan.is_volume else False
    if ends or labels[:, [0, -1]].any() or labels[..., [0, -1]].any():
        yield "cut off", "the lung reaches the border: a part of it is not measured"
    if not scan.origin.has_acquisition:
        yield "contrast", "contrast medium and kernel are not known"


_THICK = 5.0  # mm
