"""The result of a measurement."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pleura.figures.html import html_table
from pleura.files.atomic import write_text
from pleura.names import printable
from pleura.typing import StrPath

LUNG_REGIONS = frozenset({"lungs", "right", "left"})
"""Names of the regions of lungs; those of other classes differ."""


@dataclass(frozen=True)
class DensityStatistics:
    """Statistics of the HU of a set of voxels; shares are between 0 and 1.

    Attributes
    ----------
    mean, sd:
        Mean and standard deviation in HU.
    percentiles:
        Percentiles in HU such as ``Perc15``, interpolated linearly.
    low_attenuation:
        Share of voxels below a limit, such as ``LAA-950``.
    high_attenuation:
        Share of voxels from -600 to -250 HU.
    aeration:
        Share of ``hyperinflated``, ``normally_aerated``, ``poorly_aerated`` and ``not_aerated``
        voxels.
    histogram:
        Number of voxels in bins of 8 HU from -1024 HU.
    """

    mean: float
    sd: float
    percentiles: dict[str, float]
    low_attenuation: dict[str, float]
    high_attenuation: float
    aeration: dict[str, float]
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class RegionMeasurement:
    """Measures of a lung, both, or a class; lengths and volumes are None without spacing.

    Attributes
    ----------
    region:
        ``lungs``, ``right`` or ``left``; or the name of a class.
    voxels:
        Number of voxels.
    volume_ml, tissue_g, air_g:
        Volume in ml, mass of tissue and of air in g.
    densities:
        Statistics of HU; None for an empty region.
    extent_mm:
        Extent from right to left, front to back and foot to head.
    centroid_mm:
        Centroid in LPS coordinates.
    thirds:
        ``share`` of voxels and ``mean`` HU in each third of the extent: ``basal``, ``middle``,
        ``apical``; ``front``, ``centre``, ``back``.
    """

    region: str
    voxels: int
    volume_ml: float | None
    tissue_g: float | None
    air_g: float | None
    densities: DensityStatistics | None
    extent_mm: tuple[float, float, float] | None
    centroid_mm: tuple[float, float, float] | None
    thirds: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class SliceMeasurement:
    """Measures of a lung, both, or a class in one axial slice.

    Attributes
    ----------
    slice:
        Number of the slice, counted from the feet.
    region:
        ``lungs``, ``right`` or ``left``; or the name of a class.
    area_px, area_mm2:
        Area in pixels and mm²; None if the spacing is unknown.
    share_of_slice:
        Area relative to the area of the slice.
    mean, percentiles:
        As for `DensityStatistics`.
    """

    slice: int
    region: str
    area_px: int
    area_mm2: float | None
    share_of_slice: float
    mean: float | None
    percentiles: dict[str, float]


@dataclass(frozen=True, repr=False)
class Measurement:
    """Measures of the lungs or other classes of a scan.

    Attributes
    ----------
    scan:
        Name of the scan.
    regions:
        Measures of the whole scan, one per region.
    slices:
        Measures of each slice that contains a region, by region.
    flags:
        Reasons to check the measures, by name.
    labels:
        How the labels of the mask were interpreted.
    """

    scan: str
    regions: tuple[RegionMeasurement, ...]
    slices: tuple[SliceMeasurement, ...]
    flags: dict[str, str]
    labels: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as a dictionary that JSON can store."""
        return asdict(self)

    def table(self) -> list[tuple[str, ...]]:
        """Return the main measures as text: rows of a name and one value per region.

        Measures that are defined for lungs only are omitted for other classes.
        """
        rows = _ROWS if self._are_lungs else _CLASS_ROWS
        return [
            (name, *(_text(get(region)) for region in self.regions)) for name, get in rows.items()
        ]

    @property
    def _are_lungs(self) -> bool:
        return {region.region for region in self.regions} <= LUNG_REGIONS

    def write_slices(self, path: StrPath) -> None:
        """Write the measures of slices as CSV, one row per slice and region.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        rows = [
            {**{k: v for k, v in vars(row).items() if k != "percentiles"}, **row.percentiles}
            for row in self.slices
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else ["slice"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _rounded(value) for k, value in row.items()} for row in rows)
        write_text(Path(path), text.getvalue())

    def __repr__(self) -> str:
        shown = self.regions[:1] if self._are_lungs else self.regions[:5]
        parts = [_describe(region, named=not self._are_lungs) for region in shown]
        if self.flags:
            parts.append(f"flags: {', '.join(self.flags)}")
        return f"Measurement({'; '.join([printable(self.scan), *parts])})"

    def _repr_html_(self) -> str:
        columns = ["", *(region.region for region in self.regions)]
        flags = html_table(("flag", "reason"), list(self.flags.items())) if self.flags else ""
        return html_table(columns, self.table(), printable(self.scan), numeric=True) + flags


def _describe(region: RegionMeasurement, *, named: bool) -> str:
    known = region.volume_ml is not None
    size = f"{region.volume_ml:.0f} ml" if known else f"{region.voxels} voxels"
    if named:
        return f"{printable(region.region)} {size}"
    return f"{size}; mean {region.densities.mean:.0f} HU" if region.densities else size


def _rounded(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


_Value = Callable[[RegionMeasurement], float | None]


def _density(get: Callable[[DensityStatistics], float]) -> _Value:
    return lambda region: None if region.densities is None else get(region.densities)


_ROWS: dict[str, _Value] = {
    "voxels": lambda region: region.voxels,
    "volume, ml": lambda region: region.volume_ml,
    "tissue, g": lambda region: region.tissue_g,
    "mean, HU": _density(lambda d: d.mean),
    "SD, HU": _density(lambda d: d.sd),
    "Perc15, HU": _density(lambda d: d.percentiles["Perc15"]),
    "LAA-950, %": _density(lambda d: 100 * d.low_attenuation["LAA-950"]),
    "LAA-910, %": _density(lambda d: 100 * d.low_attenuation["LAA-910"]),
    "LAA-856, %": _density(lambda d: 100 * d.low_attenuation["LAA-856"]),
    "HAA, %": _density(lambda d: 100 * d.high_attenuation),
    "normally aerated, %": _density(lambda d: 100 * d.aeration["normally_aerated"]),
    "not aerated, %": _density(lambda d: 100 * d.aeration["not_aerated"]),
}


_CLASS_ROWS: dict[str, _Value] = {
    "voxels": _ROWS["voxels"],
    "volume, ml": _ROWS["volume, ml"],
    "mean, HU": _ROWS["mean, HU"],
    "SD, HU": _ROWS["SD, HU"],
    "Perc05, HU": _density(lambda d: d.percentiles["Perc05"]),
    "Perc50, HU": _density(lambda d: d.percentiles["Perc50"]),
    "Perc95, HU": _density(lambda d: d.percentiles["Perc95"]),
}


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
