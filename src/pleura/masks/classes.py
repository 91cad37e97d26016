"""Reading of masks with several classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.formats.read_segments import read_segments
from pleura.formats.segments import SegmentFile
from pleura.masks.labels import read_label_file, read_label_scan, whole_labels
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection, select_classes
from pleura.masks.structures import draw_structures
from pleura.names import shorten_list
from pleura.scan.bit_field import BitField, stack_bits
from pleura.scan.geometry import Geometry
from pleura.scan.labels import Label, may_overlap
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.typing import AnyArray, StrPath


def read_classes(
    path: Path,
    classes: tuple[Label, ...],
    geometry: Geometry | None = None,
    origin: Origin = IN_MEMORY,
    roi: RoiSelection | None = None,
) -> Mask:
    """Read a mask of several classes.

    Parameters
    ----------
    path:
        A file of labels; or a DICOM SEG, RT Structure Set or .seg.nrrd file, of which the
        structures with the names or codes of the classes are read.
    classes:
        The classes.
    geometry, origin:
        Grid and origin of the scan, on whose grid structures are drawn.
    roi:
        Labels of the structures or values to read instead, as for `read_mask`: values of the
        classes.

    Returns
    -------
    Mask
        Its labels are the values of the classes, or a bit field of classes that may overlap.

    Raises
    ------
    ScanError, DataError
        The file cannot be read, or contains values of no class.
    """
    structures = read_segments(path)
    if structures is not None:
        return draw_classes(structures, classes, geometry, origin, roi)
    if roi is not None:
        mask = read_label_file(path, roi=roi)
        labels = _stack(mask.labels, classes) if may_overlap(classes) else mask.labels
        return replace(mask, labels=labels, sides=False, classes=classes)
    label_scan = read_label_scan(path)
    values = whole_labels(label_scan)
    class_indices(values, classes, path)  # refuses other values
    labels = values.astype(np.uint8)
    if may_overlap(classes):
        labels = _stack(labels, classes)
    return Mask(labels, label_scan, False, ("", ""), has_scan=False, classes=classes)


def read_class_file(
    path: Path, label: Label, geometry: Geometry | None = None, origin: Origin = IN_MEMORY
) -> Mask:
    """Read a mask file of one class: every value but 0 is 1.

    Of a DICOM SEG, RT Structure Set or .seg.nrrd file, the structures with the name or the code of
    the class are read.

    Raises
    ------
    ScanError, DataError
        The file cannot be read.
    """
    structures = read_segments(path)
    if structures is not None:
        return draw_classes(structures, (label,), geometry, origin)
    label_scan = read_label_scan(path)
    values = (whole_labels(label_scan) != 0).astype(np.uint8)
    return Mask(values, label_scan, False, ("", ""), has_scan=False)


def draw_classes(
    file: SegmentFile,
    classes: tuple[Label, ...],
    geometry: Geometry | None,
    origin: Origin,
    roi: RoiSelection | None = None,
) -> Mask:
    """Draw the structures with the names or codes of classes, or ``roi``: `draw_structures`."""
    if may_overlap(classes):
        return _draw_overlapping(file, classes, geometry, origin, roi)
    selection = select_classes(file, classes) if roi is None else roi
    mask = draw_structures(file, geometry, origin, selection)
    return replace(mask, sides=False, classes=classes)


def _draw_overlapping(
    file: SegmentFile,
    classes: tuple[Label, ...],
    geometry: Geometry | None,
    origin: Origin,
    roi: RoiSelection | None,
) -> Mask:
    """Draw the structures of each class by themselves; the labels are a bit field."""
    if isinstance(roi, str):  # right and left lung, which do not overlap
        mask = draw_structures(file, geometry, origin, roi)
        bits = _stack(mask.labels, classes)
        return replace(mask, labels=bits, sides=False, classes=classes)
    known = set((select_classes(file, classes) if roi is None else roi).values())
    drawn = {
        label.value: draw_structures(file, geometry, origin, _select_class(file, label, roi))
        for label in classes
        if label.value in known
    }
    first = next(iter(drawn.values()))
    empty = np.zeros(first.labels.shape, np.uint8)
    layers = (drawn[c.value].labels if c.value in drawn else empty for c in classes)
    decisions = dict.fromkeys(decision for mask in drawn.values() for decision in mask.decisions)
    bits = stack_bits(layers, len(classes))
    return replace(first, labels=bits, sides=False, classes=classes, decisions=tuple(decisions))


def _select_class(file: SegmentFile, label: Label, roi: Mapping[str, int] | None) -> dict[str, int]:
    if roi is None:
        return select_classes(file, (label,))
    return {name: value for name, value in roi.items() if value == label.value}


def _stack(labels: NDArray[np.uint8], classes: tuple[Label, ...]) -> BitField:
    """Return labels as a bit field of classes that may overlap."""
    return stack_bits((labels == label.value for label in classes), len(classes))


def class_indices(
    values: AnyArray, labels: Sequence[Label], where: StrPath | None
) -> NDArray[np.uint8]:
    """Replace the values of labels by 1 plus their index.

    Parameters
    ----------
    values:
        Whole numbers of any shape and dtype.
    labels:
        The classes.
    where:
        Name of the mask in an error.

    Raises
    ------
    DataError
        A value is neither 0 nor that of a label.
    """
    present = {int(value) for value in np.unique(values)}
    unknown = sorted(present - {0, *(label.value for label in labels)})
    if unknown:
        known = ", ".join(f"{label.value} {label.name}" for label in labels)
        noun = "value" if len(unknown) == 1 else "values"
        listed = shorten_list([str(value) for value in unknown])
        raise DataError(
            f"the mask has the {noun} {listed}, which no label has (labels: {known})",
            where=where,
            hint="name each value in the recipe key data.labels or in --classes, or set it to 0 in "
            "the mask",
        )
    table = np.zeros(256, np.uint8)
    for i, label in enumerate(labels):
        table[label.value] = i + 1
    return table[values.astype(np.uint8)]
