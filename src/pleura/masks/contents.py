"""Reading of what a mask contains: lungs, or one class per label or structure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pleura.errors import DataError
from pleura.formats.image_types import ImageSource
from pleura.formats.read_segments import read_segments
from pleura.formats.segments import SegmentFile
from pleura.masks.classes import draw_classes
from pleura.masks.labels import (
    attach_scan,
    list_labels,
    map_values,
    present_labels,
    read_label_scan,
    recognise_lungs,
    whole_labels,
)
from pleura.masks.mask import Mask
from pleura.masks.selection import check_roi, has_lungs
from pleura.masks.structures import draw_structures
from pleura.names import shorten_list
from pleura.scan.bit_field import MAX_OVERLAPPING
from pleura.scan.labels import Label
from pleura.scan.scan import Decision, Scan


def read_contents(
    source: ImageSource,
    scan: Scan,
    classes: Mapping[str, int] | None = None,
    *,
    lungs: bool = True,
) -> Mask:
    """Read the lungs of a mask or, if it has none, each of its labels or structures as a class.

    Parameters
    ----------
    source:
        As for `read_mask`.
    scan:
        The scan of the mask.
    classes:
        The classes to read instead: of a file of labels, the value of each class by its name; of
        structures, those with these names, codes or numbers.
    lungs:
        Whether the mask may be one of lungs; else lungs are classes like others.

    Returns
    -------
    Mask
        Lungs as of `read_mask`, or ``classes`` whose values are 1 plus their index. Structures may
        overlap, unless there are more than 16.

    Raises
    ------
    ScanError, DataError
        As `read_mask`; or a class is missing in a file of structures, or two classes have the same
        value.
    """
    file = read_segments(Path(source)) if isinstance(source, str | os.PathLike) else None
    if file is None:
        return attach_scan(_read_label_file(source, classes, lungs), scan)
    if classes is None and lungs and has_lungs(file):
        return attach_scan(draw_structures(file, scan.geometry, scan.origin), scan)
    return attach_scan(_draw_all(file, scan, classes), scan)


def _read_label_file(
    source: ImageSource, classes: Mapping[str, int] | None, may_be_lungs: bool
) -> Mask:
    label_scan = read_label_scan(source)
    values = whole_labels(label_scan) if classes is None else whole_labels(label_scan, None)
    if classes is None:
        lungs = recognise_lungs(values, label_scan.geometry) if may_be_lungs else None
        if lungs is not None:
            labels, sides, decision = lungs
            return Mask(labels, label_scan, sides, ("", ""), (decision,), has_scan=False)
        present = sorted(present_labels(values))
        value_by_name = {f"label {value}": value for value in present}
        decision = Decision("labels", list_labels(present), "each is a class")
    else:
        value_by_name = _check_values(classes)
        named = ", ".join(f"{value} {name}" for name, value in classes.items())
        decision = Decision("labels", named, "as requested")
    index_by_value = {value: i + 1 for i, value in enumerate(value_by_name.values())}
    return Mask(
        map_values(values, index_by_value),
        label_scan,
        False,
        ("", ""),
        (decision,),
        has_scan=False,
        classes=tuple(Label(i + 1, name) for i, name in enumerate(value_by_name)),
    )


def _check_values(classes: Mapping[str, int]) -> dict[str, int]:
    """Return the values of classes, of which no two are equal."""
    for value, count in Counter(check_roi(classes).values()).items():
        if count > 1:
            names = " and ".join(name for name, one in classes.items() if one == value)
            raise DataError(
                f"{names} have the same value {value}",
                where=None,
                hint="pass one name for each value of the mask",
            )
    return dict(classes)


def _draw_all(file: SegmentFile, scan: Scan, classes: Mapping[str, int] | None) -> Mask:
    """Draw the structures of a file, each as a class, or those of some classes."""
    selectors = {name: name for name in classes} if classes else _select_all(file)
    overlap = len(selectors) <= MAX_OVERLAPPING
    labels = tuple(Label(i + 1, name, overlap=overlap) for i, name in enumerate(selectors))
    roi = {selector: i + 1 for i, selector in enumerate(selectors.values())}
    mask = draw_classes(file, labels, scan.geometry, scan.origin, roi)
    reason = "as requested" if classes else "each is a class"
    named = Decision("labels", shorten_list([*selectors], 10), reason)
    drawn = (decision for decision in mask.decisions if decision.topic != "labels")
    if not overlap:  # voxels in several structures are only in the last one
        drawn = (replace(decision, warning=True) for decision in drawn)
    return replace(mask, decisions=(named, *drawn))


def _select_all(file: SegmentFile) -> dict[str, str]:
    """Return what selects each structure of a file, by a name that no other structure has."""
    names = Counter(segment.name.casefold() for segment in file.segments)
    selectors = {}
    for segment in file.segments:
        if segment.name and names[segment.name.casefold()] == 1:
            selectors[segment.name] = segment.name
        else:
            name = f"{segment} ({segment.number})" if segment.name else str(segment)
            selectors[name] = str(segment.number)
    return selectors
