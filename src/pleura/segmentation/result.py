"""The result of a segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.figures.html import html_image, html_table
from pleura.figures.preview import PreviewCaption, preview_image
from pleura.masks.mask import Mask
from pleura.names import printable
from pleura.scan.labels import BOTH, LEFT, RIGHT, count_voxels

if TYPE_CHECKING:
    from pleura.figures.backend import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Mask):
    """The mask of a scan that a model segmented, with model name and run times.

    Parameters
    ----------
    labels, scan, sides, algorithm, classes, decisions, flags, has_scan:
        See `Mask`.
    model:
        Name of the model.
    seconds:
        Run times of the stages ``read``, ``inference`` and ``postprocessing``, in seconds.
    probability:
        uint8 (slices, rows, columns): probability of lung times 255 on the grid of the scan, before
        postprocessing. With several classes (slices, classes, rows, columns). None unless it was
        requested.
    dense_voxels:
        Number of voxels of dense lung that were added to each region (``right`` and ``left``, or
        ``lung``); None if dense lung is excluded.
    """

    model: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    probability: NDArray[np.uint8] | None = None
    dense_voxels: Mapping[str, int] | None = None

    def preview(self) -> Figure:
        """Plot `preview_image` as a matplotlib figure, which notebooks display.

        Raises
        ------
        PleuraError
            matplotlib is not installed.
        ScanError
            The voxels of the scan cannot be read.
        """
        from pleura.figures.plots import image_figure

        return image_figure(self.preview_image())

    def preview_image(self) -> NDArray[np.uint8]:
        """Draw slices of the scan with the contours of the mask.

        Returns
        -------
        uint8 (rows, columns, 3)
            An RGB image.

        Raises
        ------
        ScanError
            The voxels of the scan cannot be read.
        """
        order = self.geometry.to_canonical()
        hu, labels = order.apply(self.scan.hu()), order.apply(self.labels)
        spacing = order.apply_to(self.geometry).spacing
        return preview_image(
            hu, labels, spacing, self._caption(), scale_bar=self.geometry.spacing_known
        )

    def _caption(self) -> PreviewCaption:
        geometry, (slices, rows, columns) = self.geometry, self.geometry.shape
        names = {RIGHT: "Right lung", LEFT: "Left lung"} if self.sides else {BOTH: "Lungs"}
        if self.classes:
            names = {label: name.capitalize() for name, label in self.regions.items()}
        size = f"{slices} slice{'s' * (slices != 1)} of {rows} x {columns} pixels"
        pixel = "pixel size unknown"
        if geometry.spacing_known:
            between, row, column = geometry.spacing
            pixel = f"voxels of {row:.2f} x {column:.2f} x {between:.2f} mm"
        lines = [f"{size}, {pixel}", f"Intensities: {self.scan.intensity}; model: {self.model}"]
        if not geometry.orientation_known:
            lines.append("Orientation unknown: R and L are assumed")
        return PreviewCaption(
            {label: f"{name}: {self._size_of(label)}" for label, name in names.items()},
            lines,
            [f"{flag.title}: {flag.message}" for flag in self.flags],
            [*self.regions.values()] if self.classes else (),
        )

    def _size_of(self, label: int) -> str:
        if self.geometry.spacing_known:
            return f"{self.volume_ml(label):,.0f} ml"
        return f"{count_voxels(self.labels, label):,} pixels"

    def _repr_html_(self) -> str:
        caption = self._caption()
        rows = [
            *(text.split(": ") for text in caption.legend.values()),
            ("Grid", str(self.geometry)),
            ("Intensity units", str(self.scan.intensity)),
            ("Model", self.model),
            *((flag.title, flag.message) for flag in self.flags),
        ]
        image = html_image(self.preview_image(), "Slices with the contours of the lungs")
        return image + html_table((), rows, printable(self.scan.name))

    def _dense_added_ml(self) -> dict[str, float] | None:
        if self.dense_voxels is None or not self.geometry.spacing_known:
            return None
        voxel = self.geometry.voxel_volume
        return {region: round(n * voxel, 1) for region, n in self.dense_voxels.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary that JSON can store; voxels are left out."""
        labels = self.regions
        voxels = {region: count_voxels(self.labels, label) for region, label in labels.items()}
        known, voxel = self.geometry.spacing_known, self.geometry.voxel_volume
        volumes = {region: round(float(n) * voxel, 1) for region, n in voxels.items()}
        return {
            "scan": printable(self.scan.name),
            "grid": str(self.geometry),
            "units": str(self.scan.intensity),
            "volume_ml": volumes if known else None,
            "dense_added_ml": self._dense_added_ml(),
            "voxels": voxels,
            "flags": {flag.name: flag.message for flag in self.flags},
            "decisions": [asdict(decision) for decision in self.decisions],
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "versions": {"pleura": pleura.__version__, "model": self.model},
        }
