"""Write the masks that the networks of a cross-validation predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pairs import Pair
from pleura.dataset.scan_folders import is_dicom_scan
from pleura.dataset.volumes import read_scan
from pleura.engine.classes import class_values
from pleura.evaluation.model import CaseArrays
from pleura.formats.image_files import IMAGE_OUTPUT_SUFFIXES, write_image_file
from pleura.formats.registry import VOLUME_FORMATS, scan_name
from pleura.formats.write import write_labels
from pleura.scan.labels import Label, LabelMap
from pleura.scan.scan import Scan
from pleura.training.predict import class_folder, masks_to_write

_VOLUME_OUTPUT_SUFFIXES = tuple(s for item in VOLUME_FORMATS for s in item.output_suffixes)


class MaskWriter:
    """Write the mask of each image or volume under its name.

    Masks of images are 0 and 255, those of volumes 0 and 1; with several classes, both have the
    values of the classes. Classes that may overlap have their own masks, in a folder each. The
    slices of a volume must follow each other. Slices that are not passed are 0.

    Parameters
    ----------
    folder:
        Folder to write to.
    pairs:
        All pairs, by name.
    classes:
        The classes; empty if all masks are lungs.
    """

    def __init__(
        self, folder: Path, pairs: Mapping[str, Pair], classes: tuple[Label, ...] = ()
    ) -> None:
        self._folder = folder
        self._pairs = pairs
        self._classes = classes
        self._name = ""
        self._scan: Scan | None = None  # the volume of the last slice, and its mask
        self._slices: NDArray[np.uint8] = np.zeros(0, np.uint8)

    def add(self, arrays: CaseArrays) -> None:
        """Write the mask of an image, or keep that of a slice until its volume is complete."""
        pair, mask = self._pairs[arrays.case], arrays.prediction[0]
        if pair.index is None:
            suffix = pair.image.suffix
            if suffix.lower() not in IMAGE_OUTPUT_SUFFIXES:
                suffix = ".png"
            for folder, values in masks_to_write(mask, self._classes).items():
                write_image_file(self._folder / folder / f"{pair.image.stem}{suffix}", values)
            return
        if self._scan is None or self._scan.source != pair.image:
            self.close()
            self._scan, self._name = read_scan(pair.image, "hu"), pair.file_name
            geometry = self._scan.geometry
            self._slices = np.zeros(geometry.to_canonical().apply_to(geometry).shape, mask.dtype)
        self._slices[pair.index] = class_values(mask, self._classes) if self._classes else mask

    def close(self) -> None:
        """Write the mask of the last volume."""
        if self._scan is None or self._scan.source is None:
            return
        labels = np.ascontiguousarray(self._scan.geometry.to_canonical().undo(self._slices))
        name = self._scan.source.name
        if is_dicom_scan(self._scan.source):
            name = f"{self._name}.nii.gz"  # without the name of the patient
        elif not name.lower().endswith(_VOLUME_OUTPUT_SUFFIXES):  # such as DICOM
            name = f"{scan_name(self._scan.source)}.nii.gz"
        labelled = LabelMap(labels, self._scan, sides=False, classes=self._classes)
        if not labelled.overlap:
            write_labels(self._folder / name, labelled)
        for region, label in labelled.regions.items() if labelled.overlap else ():
            one = LabelMap(labelled.inside(label).view(np.uint8), self._scan, sides=False)
            write_labels(self._folder / class_folder(region) / name, one)
        self._scan = None
