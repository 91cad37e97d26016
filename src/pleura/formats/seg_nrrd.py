"""Segmentations of 3D Slicer (.seg.nrrd): label maps with the names of their segments.

References
----------
https://slicer.readthedocs.io/en/latest/user_guide/modules/segmentations.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pleura.errors import DataError, ScanError
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, label_colour, rgb
from pleura.formats.class_codes import class_codes
from pleura.formats.nrrd import open_nrrd, read_nrrd, write_nrrd
from pleura.formats.segments import (
    Drawn,
    Segment,
    SegmentFile,
    draw_resampled,
    draw_volumes,
    outside_decisions,
    require_drawn,
)
from pleura.scan.geometry import Geometry
from pleura.scan.labels import BOTH, LEFT, RIGHT, Label, LabelMap
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import BoolArray

SEG_NRRD_SUFFIX = ".seg.nrrd"

_KIND = "segmentation"
_MAX_SEGMENTS = 4096
_TERMINOLOGY = (
    "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~{side}"
    "~Anatomic codes - DICOM master list~^^~^^|"
)
_CLASS_TERMINOLOGY = (
    "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
    "~{category}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^|"
)
_SIDES = {RIGHT: "SCT^24028007^Right", LEFT: "SCT^7771000^Left"}
_BOTH = "SCT^51440002^Right and left"
"""Entries of the terminology of 3D Slicer."""


def read_seg_nrrd(path: Path) -> SegmentFile | None:
    """Read the segments of a .seg.nrrd file, which may be in several layers and overlap.

    Returns
    -------
    SegmentFile or None
        None if the header defines no segments or no patient space: it is a plain NRRD file.

    Raises
    ------
    ScanError
        The header is damaged.
    """
    file = open_nrrd(path)
    header = file.header
    count = sum(f"Segment{i}_ID" in header for i in range(_MAX_SEGMENTS))
    if count == 0 or not file.geometry.orientation_known:
        return None
    values = [_layer_and_label(header, i, file.layers) for i in range(count)]
    if any(not 0 <= layer < file.layers for layer, _ in values):
        raise ScanError(
            f"a segment is in a layer that is not in the file, which has {file.layers}",
            where=path,
            hint="save it with 3D Slicer again",
        )
    segments = tuple(
        Segment(i + 1, str(header.get(f"Segment{i}_Name", "")).strip(), _codes(header, i))
        for i in range(count)
    )
    origin = Origin(format="NRRD", path=path, files=tuple({path: None, file.data: None}))

    def draw(numbers: Collection[int], grid: Geometry) -> Drawn:
        layers = file.voxels(0, file.geometry.shape[0])
        inside = np.zeros(file.geometry.shape, np.bool_)
        for layer, label in (values[number - 1] for number in numbers):
            inside |= layers[..., layer] == label
        exact = draw_volumes(_slices(inside, file.geometry), grid)
        if exact is None:
            drawn, decisions = draw_resampled(inside, file.geometry, grid)
        else:
            drawn, decisions = exact[0], outside_decisions(exact[1], "voxel")
        if decisions and inside.any():
            require_drawn(drawn, _KIND, origin)
        return drawn, decisions

    return SegmentFile(_KIND, origin, segments, file.geometry, draw)


class SegNrrdFormat:
    """NRRD files with the names and colours of segments, which 3D Slicer opens as segmentation."""

    name: FormatName = "NRRD"
    suffixes: tuple[str, ...] = (SEG_NRRD_SUFFIX,)
    output_suffixes: tuple[str, ...] = (SEG_NRRD_SUFFIX,)
    stores_geometry = True

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read the header; voxels are read when they are needed."""
        return read_nrrd(path, name)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that the voxels are labels: only label maps are written."""
        if dtype is not None:
            raise DataError(
                f"only masks can be written as {SEG_NRRD_SUFFIX} files",
                where=path,
                hint="write .nrrd, .nii.gz or .mha",
            )
        return ()

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write labels with the geometry in the header of their scan."""
        if not isinstance(image, LabelMap):
            self.can_write(path, image, "i2")
        else:
            fields = _segment_fields(image)
            array = _layers(image) if image.overlap else image.values()
            write_nrrd(path, array, image.geometry, image.origin, fields)


SEG_NRRD = SegNrrdFormat()


def _segment_fields(labels: LabelMap) -> dict[str, str]:
    """Return the fields of the header that define the segments of a mask."""
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    extent = " ".join(f"0 {size - 1}" for size in labels.geometry.shape[::-1])
    for i, (label, name, colour, terminology) in enumerate(_structures(labels)):
        fields |= {
            f"Segment{i}_ID": name,
            f"Segment{i}_Name": name,
            f"Segment{i}_NameAutoGenerated": "0",
            f"Segment{i}_Color": " ".join(f"{channel / 255:.6g}" for channel in rgb(colour)),
            f"Segment{i}_ColorAutoGenerated": "0",
            f"Segment{i}_Extent": extent,
            f"Segment{i}_LabelValue": "1" if labels.overlap else str(label),
            f"Segment{i}_Layer": str(i) if labels.overlap else "0",
            f"Segment{i}_Tags": terminology,
        }
    return fields


def _layers(labels: LabelMap) -> NDArray[np.uint8]:
    """Return classes that may overlap as (slices, rows, columns, layers)."""
    return np.stack([labels.inside(label) for label in labels.regions.values()], -1).view(np.uint8)


def _structures(labels: LabelMap) -> list[tuple[int, str, str, str]]:
    """Return label, name, colour and terminology of each segment."""
    if labels.classes:
        return [
            (label.value, label.name, label_colour(i + 1), _terminology(label))
            for i, label in enumerate(labels.classes)
        ]
    if labels.sides:
        return [
            (RIGHT, "Lung_R", RIGHT_LUNG, _TERMINOLOGY.format(side=_SIDES[RIGHT])),
            (LEFT, "Lung_L", LEFT_LUNG, _TERMINOLOGY.format(side=_SIDES[LEFT])),
        ]
    return [(BOTH, "Lungs", RIGHT_LUNG, _TERMINOLOGY.format(side=_BOTH))]


def _terminology(label: Label) -> str:
    category, kind = ("^".join(code) for code in class_codes(label))
    return _CLASS_TERMINOLOGY.format(category=category, kind=kind)


def _layer_and_label(header: Mapping[str, Any], i: int, layers: int) -> tuple[int, int]:
    """Return layer and label; versions before 4.11 store neither, but one segment per layer."""
    layer = header.get(f"Segment{i}_Layer", i if layers > 1 else 0)
    label = header.get(f"Segment{i}_LabelValue", 1 if layers > 1 else i + 1)
    return _number(layer), _number(label)


def _number(text: object) -> int:
    """Return a number in the header; -1, an invalid layer or label, for other text."""
    return int(str(text)) if str(text).isdecimal() else -1


def _codes(header: Mapping[str, Any], i: int) -> frozenset[str]:
    """Return the codes of the type of a segment and its side, in its terminology entry."""
    tags = str(header.get(f"Segment{i}_Tags", "")).split("|")
    entry = next((tag for tag in tags if tag.startswith("TerminologyEntry:")), "")
    parts = [part.split("^") for part in entry.split("~")[2:4]]
    return frozenset(f"{part[0]}:{part[1]}" for part in parts if len(part) == 3 and part[1])


def _slices(inside: BoolArray, geometry: Geometry) -> Iterator[tuple[BoolArray, Geometry]]:
    """Yield the slices of a volume with their grids, of which each needs little memory."""
    for i, plane in enumerate(inside):
        if plane.any():
            affine = geometry.affine.copy()
            affine[:3, 3] = geometry.index_to_world((i, 0, 0))
            yield plane[None], Geometry((1, *geometry.shape[1:]), affine)
