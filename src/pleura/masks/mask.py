"""A mask: labels on the grid of a scan."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pleura.errors import MaskWarning
from pleura.figures.html import html_image, html_table
from pleura.figures.preview import PreviewCaption, preview_image
from pleura.formats.write import check_can_write, write_labels
from pleura.names import printable
from pleura.scan.labels import LabelMap, count_voxels
from pleura.scan.scan import Decision
from pleura.typing import StrPath

FLAG_TITLES = {
    "asymmetric": "Lungs of unequal size",
    "border": "Lung cut off at the edge of the image",
    "coverage": "Scan incomplete",
    "low_confidence": "Low confidence",
    "no_lung": "No lung found",
    "nothing_found": "Nothing found",
    "not_ct": "Possibly no chest CT",
    "orientation": "Orientation uncertain",
    "padding": "Padding uncertain",
    "panels": "Several panels in one image",
    "pixels": "Unusual pixels",
    "slice_thickness": "Thick slices",
    "slices": "Slices missing or inconsistent",
    "truncated": "Lung cut off at the end of the scan",
    "units": "Intensity units uncertain",
    "volume": "Unusual lung volume",
}
"""Readable titles of flags, by name."""


def flag_title(name: str) -> str:
    """Return the title of a flag."""
    return FLAG_TITLES.get(name, name.replace("_", " ").capitalize())


@dataclass(frozen=True)
class Flag:
    """A reason to check a mask before it is used."""

    name: str
    message: str

    @property
    def title(self) -> str:
        """The flag's name in plain words."""
        return flag_title(self.name)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True, eq=False, repr=False)
class Mask(LabelMap):
    """The lungs or other classes of a scan, with the automatic decisions and quality flags.

    Parameters
    ----------
    labels, scan, sides, algorithm, classes:
        See `LabelMap`.
    decisions:
        The automatic decisions behind the mask: how the scan was read, or how labels were
        interpreted.
    flags:
        Reasons to check the mask before it is used.
    has_scan:
        False if the mask was read without its scan; ``scan`` then contains the labels.

    Raises
    ------
    ScanError
        The labels have another dtype, or do not have the shape of the scan.
    """

    decisions: tuple[Decision, ...] = ()
    flags: tuple[Flag, ...] = ()
    has_scan: bool = True

    def volume_ml(self, label: int | None = None) -> float:
        """Return the volume of one label, or of all, in millilitres."""
        labels = self.labels
        voxels = np.count_nonzero(labels) if label is None else count_voxels(labels, label)
        return float(voxels) * self.geometry.voxel_volume

    def write(self, path: StrPath) -> None:
        """Write the mask; the suffix selects the format: see `pleura.formats.write`.

        Classes that may overlap are in one file if it is a DICOM SEG, an RT Structure Set or a
        .seg.nrrd file, else in one file per class with its name before the suffix.

        Raises
        ------
        ScanError, DataError
            The suffix is unknown, a DICOM object cannot refer to the scan's slices, or the file
            cannot be written.

        Warns
        -----
        MaskWarning
            The file does not store all properties of the scan, or other programs may reject it.
        """
        for decision in check_can_write(Path(path), self.scan):
            warnings.warn(str(decision), MaskWarning, stacklevel=2)
        write_labels(Path(path), self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The flags, and the decisions that may change the mask, as text."""
        flagged = {flag.name for flag in self.flags}
        decided = (d for d in self.decisions if d.warning and d.topic not in flagged)
        return (*map(str, decided), *map(str, self.flags))

    def _repr_html_(self) -> str:
        order = self.geometry.to_canonical()
        hu, labels = order.apply(self.scan.hu()), order.apply(self.labels)
        image = preview_image(
            hu,
            labels,
            order.apply_to(self.geometry).spacing,
            PreviewCaption(classes=[*self.regions.values()] if self.classes else ()),
            scale_bar=self.geometry.spacing_known,
        )
        rows = [
            ("Volume of all labels" if self.classes else "Volume of both lungs", self._size()),
            ("Grid", str(self.geometry)),
            ("Intensity units", str(self.scan.intensity)),
            *((d.topic, f"{d.choice} ({d.reason})") for d in self.decisions),
            *((flag.title, flag.message) for flag in self.flags),
        ]
        return html_image(image, "Slices with the contours of the lungs") + html_table(
            (), rows, printable(self.scan.name)
        )

    def _size(self) -> str:
        if self.geometry.spacing_known:
            return f"{self.volume_ml():.0f} ml"
        return f"{np.count_nonzero(self.labels)} voxels"

    def __repr__(self) -> str:
        name, kind = printable(self.scan.name), type(self).__name__
        flags = f"; flags: {', '.join(flag.name for flag in self.flags)}" if self.flags else ""
        return f"{kind}({name}; {self.geometry}; {self._size()}{flags})"

    def __str__(self) -> str:
        decisions = (("warning: " if d.warning else "") + str(d) for d in self.decisions)
        return "\n  ".join([repr(self), *decisions, *(f"flag: {flag}" for flag in self.flags)])
