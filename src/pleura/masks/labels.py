"""Reading of masks, including masks of other tools, whose labels have other meanings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.files.listing import check_path
from pleura.formats.image_types import ImageSource
from pleura.formats.read import read
from pleura.formats.read_segments import read_segments
from pleura.formats.registry import format_of, scan_name
from pleura.masks.mask import Mask
from pleura.masks.selection import SCHEMES, RoiSelection, Scheme, select_values
from pleura.masks.sides import SWAPPED, are_on_sides, are_swapped
from pleura.masks.structures import draw_structures
from pleura.scan.geometry import Geometry
from pleura.scan.labels import BOTH, LEFT, MAX_LABELS, RIGHT
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

PLEURA_LABELS = "the labels that pleura writes"
"""The reason of the decision if labels are 1 right and 2 left, or 1 both."""


_LOBES = (
    SCHEMES["totalsegmentator"],
    SCHEMES["lungmask"],
    Scheme("lobes from right upper to left lower", (1, 2, 3), (4, 5)),
)
"""Labels that are recognised without a name; MOOSE has those of lungmask, and Simpson's
nomenclature is from the right upper to the left lower lobe."""


def read_mask(
    source: ImageSource,
    scan: Scan | None = None,
    *,
    roi: RoiSelection | None = None,
    unknown_as_lung: bool = False,
) -> Mask:
    """Read a mask: right and left lung, both lungs as one label, or the five lobes.

    Parameters
    ----------
    source:
        A file of labels, a DICOM SEG, an RT Structure Set, a .seg.nrrd file, an array, or an image
        of SimpleITK, nibabel or highdicom.
    scan:
        The scan of the mask; None if it is not available, then `Mask.scan` contains the labels.
        The structures of DICOM and .seg.nrrd files are drawn on its grid.
    roi:
        Labels of the structures to read, by name, code or number, such as
        ``{"Lung_R": 1, "SCT:44029006": 2}``; labels 1 and 2 are right and left lung, and 1 alone is
        both. For label files, the numbers are values. ``"totalsegmentator"``, ``"lungmask"`` or
        ``"moose"`` selects the lobes of this tool. By default the lungs are recognised by their
        names, codes or values.
    unknown_as_lung:
        Read unknown labels as lung, with a warning among the decisions, instead of refusing them.

    Returns
    -------
    Mask
        1 right and 2 left lung, or 1 both, or the labels of ``roi``; its decision ``labels`` states
        how labels were interpreted.

    Raises
    ------
    ScanError, DataError
        The file cannot be read, is on another grid, or has unknown labels; or a structure is
        missing, or of another scan.
    """
    if scan is None:
        return read_stored_mask(source, roi=roi, unknown_as_lung=unknown_as_lung)
    mask = read_stored_mask(
        source, scan.geometry, scan.origin, roi=roi, unknown_as_lung=unknown_as_lung
    )
    return attach_scan(mask, scan)


def attach_scan(mask: Mask, scan: Scan) -> Mask:
    """Return a mask with its scan.

    Raises
    ------
    DataError
        They have different grids.
    """
    if not mask.geometry.matches(scan.geometry):
        raise DataError(
            "mask and scan have different grids: "
            + mask.geometry.describe_difference(scan.geometry),
            where=mask.source,
            hint="pass a mask of this scan",
        )
    return replace(mask, scan=scan, has_scan=True)


def read_stored_mask(
    source: ImageSource,
    geometry: Geometry | None = None,
    origin: Origin = IN_MEMORY,
    *,
    roi: RoiSelection | None = None,
    unknown_as_lung: bool = False,
) -> Mask:
    """Read a mask like `read_mask`, without its scan; a file of labels stays on its own grid.

    Parameters
    ----------
    source, roi, unknown_as_lung:
        As for `read_mask`.
    geometry, origin:
        Grid and origin of the scan, on whose grid structures are drawn.
    """
    if isinstance(source, str | os.PathLike):
        structures = read_segments(Path(source))
        if structures is not None:
            return draw_structures(structures, geometry, origin, roi)
    return read_label_file(source, roi=roi, unknown_as_lung=unknown_as_lung)


def read_label_file(
    source: ImageSource, *, roi: RoiSelection | None = None, unknown_as_lung: bool = False
) -> Mask:
    """Read a file of labels, or labels in memory, like `read_stored_mask`."""
    label_scan = read_label_scan(source)
    if roi is None:
        labels, sides, decision = _interpret_labels(label_scan, unknown_as_lung)
    else:
        labels, sides, decision = _select_labels(label_scan, roi)
    return Mask(labels, label_scan, sides, ("", ""), (decision,), has_scan=False)


def read_label_scan(source: ImageSource) -> Scan:
    """Read a file of labels, or labels in memory, as a scan."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        file_format = format_of(path)
        if file_format is not None:
            check_path(path)
            return file_format.read(path, scan_name(path), labels=True)
    return read(source, units="hu")


def _interpret_labels(
    label_scan: Scan, unknown_as_lung: bool
) -> tuple[NDArray[np.uint8], bool, Decision]:
    """Return labels (slices, rows, columns), whether right and left differ, and the decision."""
    values = whole_labels(label_scan)
    lungs = recognise_lungs(values, label_scan.geometry)
    if lungs is not None:
        return lungs
    present = present_labels(values)
    if unknown_as_lung:
        reason = "the labels are unknown; they may include trachea, vessels or lesions"
        return (
            _mapped(values, present, BOTH),
            False,
            Decision("labels", f"{list_labels(present)} both lungs", reason, warning=True),
        )
    raise DataError(
        f"the labels {list_labels(present)} of the mask are unknown",
        where=label_scan.source,
        hint="pass 1 right and 2 left lung, one label for both, or five lobes (lungmask: 1-5, "
        "TotalSegmentator: 10-14) without other structures",
    )


def recognise_lungs(
    values: AnyArray, geometry: Geometry
) -> tuple[NDArray[np.uint8], bool, Decision] | None:
    """Recognise the values of the lungs or of their lobes.

    Returns
    -------
    labels, sides, decision
        1 right and 2 left, or 1 both, of uint8; whether right and left differ; and which values
        they have. None if the values are those of other structures.
    """
    present = present_labels(values)
    if present <= {RIGHT, LEFT}:
        sides = LEFT in present
        names = {RIGHT: "1 right", LEFT: "2 left"} if sides else {RIGHT: "1 both lungs"}
        choice = ", ".join(names[label] for label in sorted(present)) or "none: the mask is empty"
        reason = PLEURA_LABELS
        swapped = sides and are_swapped(values, geometry)
        if swapped:
            reason = SWAPPED
        decision = Decision("labels", choice, reason, warning=swapped)
        return values.astype(np.uint8), sides, decision
    if len(present) == 1:
        decision = Decision("labels", f"{min(present)} both lungs", "the only label of the mask")
        return _mapped(values, present, BOTH), False, decision
    for scheme in _LOBES:
        right, left = present & {*scheme.right}, present & {*scheme.left}
        if (
            right
            and left
            and right | left == present
            and are_on_sides(values, geometry, right, left)
        ):
            choice = f"{list_labels(right)} right, {list_labels(left)} left"
            labels = _mapped(values, right, RIGHT) | _mapped(values, left, LEFT)
            warning = not geometry.orientation_known
            return labels, True, Decision("labels", choice, scheme.name, warning)
    return None


def _select_labels(label_scan: Scan, roi: RoiSelection) -> tuple[NDArray[np.uint8], bool, Decision]:
    """Return the requested labels, whether right and left differ, and the decision."""
    label_by_value = select_values(roi, label_scan.source)
    labels = map_values(whole_labels(label_scan, max_labels=None), label_by_value)
    sides = LEFT in label_by_value.values()
    present = present_labels(labels)
    choice = ", ".join(
        f"{list_labels([v for v, one in label_by_value.items() if one == label])} as label {label}"
        for label in sorted(set(label_by_value.values()))
    )
    if not present:
        return labels, sides, Decision("labels", choice, "none of them is in the mask", True)
    if sides and are_swapped(labels, label_scan.geometry):
        return labels, sides, Decision("labels", choice, SWAPPED, warning=True)
    return labels, sides, Decision("labels", choice, "as requested")


def whole_labels(label_scan: Scan, max_labels: int | None = MAX_LABELS) -> AnyArray:
    """Return the labels of a file: whole numbers from 0.

    Parameters
    ----------
    label_scan:
        The file.
    max_labels:
        Largest number of different labels, without 0; None does not limit it.

    Raises
    ------
    DataError
        The values are probabilities or the grey values of an image.
    """
    values = label_scan.values()
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise DataError(
            f"fractional values from {values.min():g} to {values.max():g} are not labels",
            where=label_scan.source or label_scan.name,
            hint="apply a threshold to probabilities (0.5, for example) and save whole numbers",
        )
    too_many = max_labels is not None and len(present_labels(values)) > max_labels
    if label_scan.origin.is_lossy or values.min() < 0 or too_many:
        raise DataError(
            f"values from {values.min():g} to {values.max():g} are not labels",
            where=label_scan.source or label_scan.name,
            hint="pass a mask, not a CT; save it losslessly (PNG, TIFF, NIfTI), with 0 outside "
            "the lungs",
        )
    return values


def map_values(values: AnyArray, label_by_value: Mapping[int, int]) -> NDArray[np.uint8]:
    """Return the label of each value, and 0 for other values."""
    labels = np.zeros(values.shape, np.uint8)
    for value, label in label_by_value.items():
        labels[values == value] = label
    return labels


def present_labels(values: AnyArray) -> set[int]:
    """Return the labels that occur, without 0."""
    if values.min() >= 0 and values.max() <= 255:  # no need to sort every voxel
        counts = sum(np.bincount(s.ravel().astype(np.uint8), minlength=256) for s in values)
        return {int(label) for label in np.flatnonzero(counts)} - {0}
    return {int(label) for label in np.unique(values)} - {0}


def _mapped(values: AnyArray, labels: set[int], to: int) -> NDArray[np.uint8]:
    return np.where(np.isin(values, list(labels)), np.uint8(to), np.uint8(0))


def list_labels(labels: set[int] | Sequence[int]) -> str:
    """Return labels as text: 10-14, or 3, 5, 9."""
    ordered = sorted(labels)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered[:8])) + (", ..." if len(ordered) > 8 else "")
