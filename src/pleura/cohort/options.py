"""Options of `segment_file` and `segment_cohort`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from pleura.engine.runtimes import Precision, Runtime
from pleura.errors import DataError
from pleura.formats.registry import OUTPUT_FORMATS, same_format_suffix
from pleura.intensity.mapping import UnitsOption
from pleura.intensity.window import Units, units_or_window
from pleura.segmentation.dense import DenseOption
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import StrPath

OutputFormat = Literal[
    "same", "nifti", "nrrd", "seg-nrrd", "mha", "tiff", "png", "npy", "dicom-seg", "rtstruct"
]
"""Format of the masks of a cohort; ``same``: the format of each scan, and NIfTI for DICOM."""


@dataclass(frozen=True)
class SegmentationOptions:
    """Options for reading and segmenting a scan.

    Raises
    ------
    ScanError
        The window is invalid, or the units are not grey values.
    """

    model: StrPath | None = None
    """Model file that `export` wrote, or ``default`` (None) or ``accurate``."""
    threshold: float | None = None
    """Smallest probability of a lung voxel, 0 to 1; None: the threshold of the model."""
    sides: bool = True
    """Label the right lung 1 and the left lung 2; else label both 1."""
    dense: DenseOption = "exclude"
    """``include``: add consolidated and collapsed lung, and masses at the pleura."""
    threads: int | None = None
    """CPU threads per scan; None: all cores, shared by the scans that run at the same time."""
    precision: Precision = "auto"
    """Precision of OpenVINO."""
    runtime: Runtime = "openvino"
    """``onnxruntime`` runs the model on a GPU."""
    units: UnitsOption = "auto"
    """Intensity units of the scans."""
    window: tuple[float, float] | None = None
    """Level and width in HU with which grey values were exported; None: estimated."""
    flip: bool = False
    """In scans without orientation, the left of the patient is on the left of the image."""

    def __post_init__(self) -> None:
        units_or_window(self.units, self.window)

    @property
    def units_or_window(self) -> Units:
        """The window if there is one, else the units."""
        return units_or_window(self.units, self.window)

    def load_segmenter(self) -> Segmenter:
        """Load the model.

        Returns
        -------
        Segmenter

        Raises
        ------
        ModelError
            The model cannot be loaded.
        """
        return Segmenter(
            self.model,
            threads=self.threads,
            precision=self.precision,
            threshold=self.threshold,
            sides=self.sides,
            dense=self.dense,
            runtime=self.runtime,
        )


@dataclass(frozen=True)
class OutputFiles:
    """Files to write for one scan; those that are None are not written.

    Raises
    ------
    DataError
        Two outputs have the same path, or ``crop`` is set without ``masked``.
    """

    mask: StrPath
    """Label mask on the grid of the scan; the suffix selects the format."""
    preview: StrPath | None = None
    """PNG of slices of the scan with the contours of the mask."""
    masked: StrPath | None = None
    """CT in HU with -1024 outside the lungs."""
    probability: StrPath | None = None
    """Probability of lung times 255 (uint8), before postprocessing."""
    report: StrPath | None = None
    """JSON file with a `ScanReport`."""
    crop: bool = False
    """Crop ``masked`` to the bounding box of the lungs."""
    binary: bool = False
    """In TIFF, PNG and NumPy masks, write lung as 255 instead of 1 and 2."""
    measure: bool = False
    """Add measurements of the lungs to the report."""
    overwrite: bool = False
    """Replace existing files."""

    def __post_init__(self) -> None:
        paths = [path.resolve() for path in self.paths().values()]
        for i, path in enumerate(paths):
            if path in paths[:i]:
                raise DataError(
                    "two outputs have the same path",
                    where=path,
                    hint="choose a different path for each output",
                )
        if self.crop and self.masked is None:
            raise DataError(
                "crop applies only to the masked CT", where=None, hint="add a path for masked"
            )

    def volumes(self) -> dict[str, Path]:
        """Return the paths of the voxel data to write, by the name of the field."""
        fields = {"mask": self.mask, "masked": self.masked, "probability": self.probability}
        return {name: Path(path) for name, path in fields.items() if path is not None}

    def paths(self) -> dict[str, Path]:
        """Return the paths of all files to write, by the name of the field."""
        fields = {"preview": self.preview, "report": self.report}
        others = {name: Path(path) for name, path in fields.items() if path is not None}
        return self.volumes() | others


@dataclass(frozen=True)
class OutputOptions:
    """What `segment_cohort` writes for each scan."""

    format: OutputFormat = "same"
    """Format of the masks; ``same``: the format of each scan, and NIfTI for DICOM."""
    binary: bool = False
    """In TIFF, PNG and NumPy masks, write lung as 255 instead of 1 and 2."""
    preview: bool = False
    """Write a PNG of slices of the scan with the contours of the mask."""
    measure: bool = False
    """Add measurements of the lungs to the reports and tables."""
    anonymous: bool = False
    """Name results by hashes, and omit the paths of scans from them."""
    overwrite: bool = False
    """Segment scans again that have a result."""


@dataclass(frozen=True)
class DistributionOptions:
    """How `segment_cohort` distributes the scans.

    Raises
    ------
    DataError
        A number is out of range.
    """

    jobs: int = 1
    """Scans at a time on this machine; they share the cores."""
    cluster: str | None = None
    """Address of a Dask scheduler, or its JSON file; its workers segment instead."""
    shard: tuple[int, int] = (1, 1)
    """``(i, n)``: every n-th scan from the i-th on, 1 <= i <= n."""
    retries: int = 0
    """Further attempts for a scan that failed for a temporary reason."""

    def __post_init__(self) -> None:
        index, count = self.shard
        if self.jobs < 1 or self.retries < 0 or not 1 <= index <= count:
            raise DataError(
                f"jobs={self.jobs}, shard={self.shard}, retries={self.retries} is out of range",
                where=None,
                hint="set jobs >= 1, 1 <= i <= n in shard (i, n), and retries >= 0",
            )


def mask_suffix(filename: str, output_format: OutputFormat) -> str:
    """Return the suffix of the mask of a scan file.

    Parameters
    ----------
    filename:
        Name of the file or folder of the scan.
    output_format:
        Requested format.
    """
    if output_format != "same":
        return OUTPUT_FORMATS[output_format]
    return same_format_suffix(PurePath(filename))
