"""The JSON report of a segmented scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pleura.cohort.options import OutputFiles, OutputOptions, SegmentationOptions
from pleura.files.records import parse_record
from pleura.measurement.measure import measure
from pleura.segmentation.result import Segmentation
from pleura.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class ScanReport:
    """Report of a segmented scan, which `segment_file` and `segment_cohort` write as JSON."""

    scan: str
    """Name of the scan, without the name or number of the patient."""
    grid: str
    """Number and size of the voxels, and the orientation."""
    units: str
    """Intensity units of the scan."""
    volume_ml: dict[str, float] | None
    """Volume of each lung in ml; None if the spacing is unknown."""
    voxels: dict[str, int]
    """Number of voxels of each lung."""
    flags: dict[str, str]
    """Reasons to check the mask, by name."""
    decisions: list[dict[str, Any]]
    """Automatic decisions: ``topic``, ``choice``, ``reason``, and ``warning``."""
    seconds: dict[str, float]
    """Run time of each stage in s."""
    versions: dict[str, str]
    """Version of ``pleura`` and name of the ``model``."""
    options: dict[str, Any]
    """Options that the mask depends on, with the model's name, version and hash."""
    mask: str
    """Path of the mask; in a cohort its name in the folder of the report."""
    source: str = ""
    """Path of the scan below the inputs of a cohort; else empty."""
    dense_added_ml: dict[str, float] | None = None
    """Volume of dense lung that was added to each lung, in ml; None if it is excluded or the
    spacing is unknown."""
    measurements: dict[str, Any] | None = None
    """See `Measurement`; None if not requested."""
    fingerprint: dict[str, Any] | None = None
    """Identifies the content of the scan in a cohort; else None."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return dict(vars(self))


def measurements_of(result: Segmentation) -> dict[str, Any]:
    """Return the measurements of a segmented scan as JSON values."""
    return measure(result.scan, result).to_dict()


def parse_report(content: bytes) -> ScanReport | None:
    """Return the report in JSON text; None if it is damaged or has other keys."""
    try:
        return ScanReport(**parse_record(content))
    except TypeError:
        return None


def report_options(
    segmenter: Segmenter,
    options: SegmentationOptions,
    outputs: OutputOptions | OutputFiles,
    *,
    series: str | None,
    stack: bool,
) -> dict[str, Any]:
    """Return the options that a result depends on, as JSON values."""
    greyscale = segmenter.greyscale_metadata
    return {
        "model": segmenter.engine.metadata.summary(),
        "greyscale_model": greyscale and greyscale.summary(),
        "threshold": segmenter.threshold_level,
        "sides": options.sides,
        "dense": options.dense,
        "units": options.units,
        "window": None if options.window is None else [float(value) for value in options.window],
        "flip": options.flip,
        "series": series,
        "stack": stack,
        "binary": outputs.binary,
        "measure": outputs.measure,
    }
