"""Reading volumes of a data set as canonical axial slices."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError, DataWarning, ScanError
from pleura.formats.read import read
from pleura.intensity.mapping import HU, UnitsOption
from pleura.masks.classes import class_indices, read_class_file, read_classes
from pleura.masks.labels import read_stored_mask
from pleura.masks.selection import LabelPreset
from pleura.scan.bit_field import BitField, stack_bits
from pleura.scan.geometry import Geometry, Reorientation
from pleura.scan.labels import Label
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray

_TOPICS = ("units", "labels", "mask", "series", "slices", "pixels", "files")
"""Decisions that are warnings about a volume or its mask."""


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A CT volume in memory, as axial slices from foot to head.

    Parameters
    ----------
    hu:
        int16 (slices, rows, columns), in HU.
    stored:
        The same slices in the units of the file.
    geometry:
        The grid of the slices.
    order:
        Reorientation of the stored array to the slices; None if the file has no orientation.
    origin:
        What the volume was read from.
    missing:
        Indices of slices that are missing in the source; they are air.
    """

    hu: NDArray[np.int16]
    stored: AnyArray
    geometry: Geometry
    order: Reorientation | None
    origin: Origin
    missing: frozenset[int] = frozenset()


def read_volume(path: Path) -> Volume:
    """Read a CT volume.

    Raises
    ------
    DataError
        The file cannot be read as a CT.
    """
    scan = read_scan(path, "auto")
    _warn_of_decisions(path, scan.decisions)
    with _as_data_error(path):
        values = scan.values()
    order = scan.geometry.to_canonical()
    stored = np.ascontiguousarray(order.apply(values))
    hu = scan.intensity.to_hu(stored)
    if scan.intensity == HU:
        stored = hu  # one array in memory instead of two
    known = scan.geometry.orientation_known
    return Volume(
        hu,
        stored,
        order.apply_to(scan.geometry),
        order if known else None,
        scan.origin,
        scan.missing_axial_slices,
    )


def read_volume_mask(
    path: Path,
    geometry: Geometry | None = None,
    origin: Origin = IN_MEMORY,
    stored_order: Reorientation | None = None,
    classes: tuple[Label, ...] = (),
    roi: LabelPreset | tuple[tuple[str, int], ...] | None = None,
) -> tuple[NDArray[np.uint8], Geometry]:
    """Read the mask of a volume.

    Parameters
    ----------
    path:
        The file.
    geometry, origin:
        Grid and origin of the volume. The structures of DICOM and .seg.nrrd files are drawn on this
        grid.
    stored_order:
        Reorientation of the volume's array. A mask without orientation, such as a PNG, is stored
        as the volume is.
    classes:
        The classes of the mask; empty: lung is any value but 0.
    roi:
        As for `read_mask`, with names and labels as a tuple.

    Returns
    -------
    mask:
        uint8 (slices, rows, columns), canonical axial slices; 1 where the file has any label. With
        ``classes``, 1 plus the index of the class; of classes that may overlap, a bit field.
    geometry:
        The grid of the slices.

    Raises
    ------
    DataError
        The file cannot be read, or contains values that are not labels.
    """
    selection = dict(roi) if isinstance(roi, tuple) else roi
    with _as_data_error(path):
        if classes:
            mask = read_classes(path, classes, geometry, origin, selection)
            labels = mask.labels if mask.overlap else class_indices(mask.labels, classes, path)
        else:
            mask = read_stored_mask(path, geometry, origin, roi=selection, unknown_as_lung=True)
            labels = np.not_equal(mask.labels, 0).astype(np.uint8)
    _warn_of_decisions(path, mask.decisions)
    return _canonical(labels, mask.geometry, stored_order)


def read_volume_bits(
    paths: tuple[Path, ...],
    classes: tuple[Label, ...],
    geometry: Geometry,
    origin: Origin = IN_MEMORY,
    stored_order: Reorientation | None = None,
) -> tuple[BitField, Geometry]:
    """Read the masks of the classes of a volume, one file per class.

    Parameters
    ----------
    paths, classes:
        The files, and their classes. Any voxel but 0 belongs to the class; of the structures of a
        DICOM or .seg.nrrd file, those with its name or code.
    geometry, origin, stored_order:
        As for `read_volume_mask`.

    Returns
    -------
    bits:
        The bit field (slices, rows, columns), canonical axial slices.
    geometry:
        The grid of the slices.

    Raises
    ------
    DataError
        A file cannot be read, or the files have different grids.
    """
    grids: list[Geometry] = []

    def read_layer(path: Path, label: Label) -> NDArray[np.uint8]:
        with _as_data_error(path):
            mask = read_class_file(path, label, geometry, origin)
        _warn_of_decisions(path, mask.decisions)
        layer, grid = _canonical(mask.labels, mask.geometry, stored_order)
        if grids and not grid.matches(grids[0]):
            raise DataError(
                f"two masks have different grids: {grids[0].describe_difference(grid)}",
                where=f"{paths[0]} and {path}",
                hint="export all masks on the grid of the image",
            )
        grids.append(grid)
        return layer

    bits = stack_bits(map(read_layer, paths, classes), len(classes))
    return bits, grids[0]


def _canonical(
    labels: NDArray[np.uint8], geometry: Geometry, stored_order: Reorientation | None
) -> tuple[NDArray[np.uint8], Geometry]:
    order = geometry.to_canonical()
    if stored_order is not None and not geometry.orientation_known:
        order = stored_order
    return np.ascontiguousarray(order.apply(labels)), order.apply_to(geometry)


def read_scan(path: Path, units: UnitsOption) -> Scan:
    """Read a scan like `pleura.read`, with a `DataError` instead of a `ScanError`.

    Raises
    ------
    DataError
        The file cannot be read as a scan.
    """
    with _as_data_error(path):
        return read(path, units=units)


@contextmanager
def _as_data_error(path: Path) -> Iterator[None]:
    try:
        yield
    except ScanError as error:
        raise DataError(error.message, where=error.where or path, hint=error.hint) from error


def _warn_of_decisions(path: Path, decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.warning and decision.topic in _TOPICS:
            warnings.warn(f"{path.name}: {decision}", DataWarning, stacklevel=3)
