"""Quantitative CT measures of the lungs or of other classes, per scan and per axial slice.

A value that cannot be determined is None, and a flag gives the reason.
docs/explanation/measurements.md lists the definitions.

References
----------
.. [1] P. A. Gevenois et al., Am J Respir Crit Care Med 154:187, 1996 (LAA-950).
.. [2] N. L. Müller et al., Chest 94:782, 1988 (LAA-910).
.. [3] A. Busacker et al., Chest 135:48, 2009 (LAA-856).
.. [4] D. J. Lederer et al., Am J Respir Crit Care Med 180:407, 2009 (HAA).
.. [5] L. Gattinoni et al., Am J Respir Crit Care Med 164:1701, 2001 (aeration, tissue).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.formats.image_types import ImageSource
from pleura.formats.scan_like import ScanLike, as_scan
from pleura.intensity.mapping import HU
from pleura.masks.contents import read_contents
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection, require_lung_labels
from pleura.measurement.result import (
    LUNG_REGIONS,
    DensityStatistics,
    Measurement,
    RegionMeasurement,
    SliceMeasurement,
)
from pleura.names import shorten_list
from pleura.scan.bit_field import has_label
from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan
from pleura.segmentation.flags import MAX_VOLUME_ML
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import AnyArray, BoolArray

PERCENTILES = (5, 15, 50, 95)

LOW_ATTENUATION = (-950, -910, -856)
"""HU: limits of emphysema [1]_, mild emphysema [2]_, and trapped air in expiration [3]_."""

HIGH_ATTENUATION = (-600, -250)
"""HU: range of interstitial lung abnormality [4]_."""

AERATION = {
    "hyperinflated": (-1024, -900),
    "normally_aerated": (-900, -500),
    "poorly_aerated": (-500, -100),
    "not_aerated": (-100, 100),
}
"""HU ranges [5]_: the lower limit is included, the upper one is not. Vessels are not aerated."""

AIR_DENSITY = 1.1e-3
"""Density of air in the lung at body temperature and sea level, in g/ml."""

BINS = np.arange(-1024, 201, 8)
"""HU: edges of the histogram. The first and last bin also count values beyond."""

MAX_SLICE_SPACING_MM = 5.0
"""Larger distances of slices are flagged."""


def measure(
    scan: ScanLike | Mask,
    mask: Mask | ImageSource | None = None,
    *,
    roi: RoiSelection | None = None,
    classes: Mapping[str, int] | None = None,
) -> Measurement:
    """Measure volume, density and extent of the lungs, or of each class of a mask.

    Parameters
    ----------
    scan:
        A `Scan`, a path, an array, or an image of SimpleITK, nibabel or highdicom; or a mask or
        `Segmentation`, to measure the lungs of its scan.
    mask:
        A mask on the grid of the scan, its path, an array, or an image of another library. By
        default, the mask passed as ``scan``; for a scan, the shipped model segments the lungs.
    roi:
        Structures or labels of a mask that is read, as for `read_mask`, with the labels 1 right and
        2 left lung, or 1 both.
    classes:
        Classes of a mask that is read, by name, to measure instead of the lungs: of a file of
        labels the value of each, such as ``{"lung": 1, "lesion": 2}``; of DICOM and .seg.nrrd
        files, the structures with these names, whatever the values are. By default the lungs, or
        all labels or structures of a mask without lungs.

    Returns
    -------
    Measurement
        Regions ``lungs``, ``right`` and ``left``; only ``lungs`` if the mask does not separate
        them. Of a mask with several classes, one region per class. Slices are axial, counted from
        the feet.

    Raises
    ------
    ScanError, DataError
        Scan or mask cannot be read, the mask has another grid, or its scan is not available.

    Examples
    --------
    >>> import pleura
    >>> folder = "tests/data/sample/volume"
    >>> found = pleura.measure(f"{folder}/ct.nii.gz", f"{folder}/lungs.nii.gz")
    >>> [(region.region, round(region.volume_ml)) for region in found.regions]
    [('lungs', 3975), ('right', 2170), ('left', 1805)]
    """
    if isinstance(scan, Mask):
        mask, scan = scan if mask is None else mask, _scan_of(scan)
    scan = as_scan(scan)
    mask = _mask_of(scan, mask, roi, classes)
    order = scan.geometry.to_canonical()
    geometry = order.apply_to(scan.geometry)
    hu, labels = order.apply(scan.hu()), order.apply(mask.labels)
    regions: list[RegionMeasurement] = []
    slices: list[SliceMeasurement] = []
    for name, inside in _regions(mask, labels):
        regions.append(_measure_region(name, inside, hu, geometry))
        slices.extend(_measure_slices(name, inside, hu, geometry))
    return Measurement(
        scan=scan.name,
        regions=tuple(regions),
        slices=tuple(slices),
        flags={**dict(_flags(scan, mask, labels, geometry)), **_mask_flags(mask)},
        labels=next((str(d) for d in mask.decisions if d.topic == "labels"), ""),
    )


def density_statistics(hu: NDArray[np.int16]) -> DensityStatistics:
    """Return statistics of the HU of at least one voxel, an array (n,)."""
    low, high = HIGH_ATTENUATION
    counts, _ = np.histogram(np.clip(hu, BINS[0], BINS[-1]), BINS)
    return DensityStatistics(
        mean=float(hu.mean(dtype=np.float64)),
        sd=float(hu.std(dtype=np.float64)),
        percentiles=_percentiles(hu),
        low_attenuation={f"LAA{limit}": float(np.mean(hu < limit)) for limit in LOW_ATTENUATION},
        high_attenuation=float(np.mean((hu >= low) & (hu <= high))),
        aeration={
            name: float(np.mean((hu >= low) & (hu < high)))
            for name, (low, high) in AERATION.items()
        },
        histogram=tuple(int(n) for n in counts),
    )


def _scan_of(mask: Mask) -> Scan:
    if not mask.has_scan:
        raise DataError(
            "the mask was read without its scan",
            where=mask.scan.name,
            hint="pass the scan and the mask: measure(scan, mask)",
        )
    return mask.scan


def _regions(mask: Mask, labels: AnyArray) -> Iterator[tuple[str, BoolArray]]:
    """Yield name and voxels of each region to measure of the canonical labels of a mask."""
    if mask.classes:
        for name, label in mask.regions.items():
            yield name, has_label(labels, label)
        return
    yield "lungs", labels > 0
    if mask.sides:
        yield "right", labels == RIGHT
        yield "left", labels == LEFT


def _mask_of(
    scan: Scan,
    mask: Mask | ImageSource | None,
    roi: RoiSelection | None,
    classes: Mapping[str, int] | None,
) -> Mask:
    require_lung_labels(roi)
    if classes is not None and (mask is None or isinstance(mask, Mask) or roi is not None):
        raise DataError(
            "classes are selected from a mask that is read, and exclude roi",
            where=scan.name,
            hint="pass the path of the mask and its classes only: measure(scan, path, classes=...)",
        )
    if mask is None:
        with Segmenter() as segmenter:
            return segmenter.segment(scan, warn=False)
    if isinstance(mask, Scan):
        raise DataError(
            "the mask is a Scan", where=mask.name, hint="pass the scan first: measure(scan, mask)"
        )
    if not isinstance(mask, Mask):
        return read_contents(mask, scan, classes) if roi is None else read_mask(mask, scan, roi=roi)
    if not mask.geometry.matches(scan.geometry):
        raise DataError(
            "mask and scan have different grids: "
            + mask.geometry.describe_difference(scan.geometry),
            where=scan.name,
            hint="pass a mask of this scan",
        )
    return mask


def _mask_flags(mask: Mask) -> dict[str, str]:
    warned: dict[str, str] = {}
    for decision in mask.decisions:
        if decision.warning and decision.topic in ("labels", "mask"):
            earlier = f"{warned[decision.topic]}; " if decision.topic in warned else ""
            warned[decision.topic] = earlier + str(decision)
    return warned | {flag.name: flag.message for flag in mask.flags}


def _measure_region(
    name: str, inside: BoolArray, hu: NDArray[np.int16], geometry: Geometry
) -> RegionMeasurement:
    values = hu[inside]
    if not len(values):
        volume = 0.0 if geometry.spacing_known and name not in LUNG_REGIONS else None
        return RegionMeasurement(name, 0, volume, None, None, None, None, None, {})
    known = geometry.spacing_known
    ml = len(values) * geometry.voxel_volume
    # A voxel contains (HU + 1000) / 1000 of tissue at 1 g/ml; the rest is air.
    tissue = float(np.clip(values / 1000 + 1, 0, None).mean())
    index = np.argwhere(inside)
    spans = index.max(0) - index.min(0) + 1
    extent = tuple(float(n * s) for n, s in zip(spans, geometry.spacing, strict=True))
    x, y, z = (float(v) for v in geometry.index_to_world(index.mean(0)))
    return RegionMeasurement(
        region=name,
        voxels=len(values),
        volume_ml=ml if known else None,
        tissue_g=ml * tissue if known else None,
        air_g=ml * max(1 - tissue, 0) * AIR_DENSITY if known else None,
        densities=density_statistics(values),
        extent_mm=(extent[2], extent[1], extent[0]) if known else None,
        centroid_mm=(x, y, z) if known else None,
        thirds=_thirds(index, values),
    )


def _percentiles(hu: NDArray[np.int16]) -> dict[str, float]:
    values = np.percentile(hu, PERCENTILES)
    return {f"Perc{q:02d}": float(value) for q, value in zip(PERCENTILES, values, strict=True)}


def _thirds(index: NDArray[np.int64], hu: NDArray[np.int16]) -> dict[str, dict[str, float | None]]:
    """Return share of voxels and mean HU of thirds along the slice and row axis."""
    thirds: dict[str, dict[str, float | None]] = {}
    for axis, names in ((0, ("basal", "middle", "apical")), (1, ("front", "centre", "back"))):
        position = index[:, axis]
        first, span = int(position.min()), int(np.ptp(position)) + 1
        third = np.minimum((position - first) * 3 // span, 2)
        for i, name in enumerate(names):
            values = hu[third == i]
            mean = float(values.mean()) if len(values) else None
            thirds[name] = {"share": len(values) / len(hu), "mean": mean}
    return thirds


def _measure_slices(
    name: str, inside: BoolArray, hu: NDArray[np.int16], geometry: Geometry
) -> Iterator[SliceMeasurement]:
    _, row, column = geometry.spacing
    for i in np.flatnonzero(inside.any((1, 2))):
        values = hu[i][inside[i]]
        yield SliceMeasurement(
            slice=int(i),
            region=name,
            area_px=len(values),
            area_mm2=len(values) * row * column if geometry.spacing_known else None,
            share_of_slice=len(values) / inside[i].size,
            mean=float(values.mean(dtype=np.float64)),
            percentiles=_percentiles(values),
        )


def _flags(
    scan: Scan, mask: Mask, labels: AnyArray, geometry: Geometry
) -> Iterator[tuple[str, str]]:
    if not labels.any():
        name = "nothing_found" if mask.classes else "no_lung"
        yield name, "the mask is empty: no measures are computed"
    ml = int(np.count_nonzero(labels)) * geometry.voxel_volume
    has_volume = scan.is_volume and geometry.spacing_known
    if has_volume and not mask.classes and ml > MAX_VOLUME_ML:
        yield "volume", f"the volume of both lungs is {ml:.0f} ml, more than that of a large adult"
    if not geometry.spacing_known:
        yield "spacing", "the spacing is unknown: sizes are in pixels and voxels, not in mm"
    if scan.intensity != HU:
        yield (
            "units",
            f"densities may be inaccurate: values were converted from {scan.intensity}",
        )
    slice_spacing = geometry.spacing[0]
    if scan.is_volume and geometry.spacing_known and slice_spacing > MAX_SLICE_SPACING_MM:
        yield (
            "slice_thickness",
            f"voxels average over tissues: slices are {slice_spacing:g} mm apart",
        )
    if mask.classes:
        cut = [name for name, inside in _regions(mask, labels) if _reaches_border(scan, inside)]
        if cut:
            names = shorten_list(cut)
            yield "truncated", f"at the border of the scan, parts may not be measured: {names}"
    elif _reaches_border(scan, labels):
        yield "truncated", "the lung reaches the border of the scan: part of it is not measured"
    if not scan.origin.has_acquisition:
        yield "contrast", "contrast agent and convolution kernel are unknown"


def _reaches_border(scan: Scan, labels: AnyArray) -> bool:
    """Return whether a label is not 0 in a first or last row or column, or slice of a volume."""
    at_ends = bool(labels[[0, -1]].any()) if scan.is_volume else False
    return at_ends or bool(labels[:, [0, -1]].any() or labels[..., [0, -1]].any())
