"""Volumes of a data set, slice by slice: each is kept until the next one or until it changes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError, DataWarning, ScanError
from pleura.formats import metaimage, nrrd
from pleura.formats.read import read
from pleura.intensity.mapping import HU, UnitsOption
from pleura.masks import labels as masks
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Scan
from pleura.typing import AnyArray

Stamp = tuple[tuple[int, ...], ...]


def _stamp(path: Path) -> Stamp:
    """Return what changes when a file, or the one that holds its voxels, is written again."""
    try:
        files = [path, *_voxels_of(path)]
        stats = [file.stat() for file in files]
    except OSError as error:
        raise DataError(
            f"the file cannot be read ({error.strerror})", where=path, hint="check the path"
        ) from error
    return tuple((s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino) for s in stats)


def _voxels_of(path: Path) -> Iterator[Path]:
    if not path.name.lower().endswith((*metaimage.SUFFIXES, *nrrd.SUFFIXES)):
        return
    with path.open("rb") as file:
        header = file.read(1 << 14)
    for name in re.findall(rb"(?mi)^(?:ElementDataFile *=|data ?file:) *([^\r\n]+)", header):
        voxels = path.parent / name.decode("utf-8", "surrogateescape").strip()
        if voxels.is_file():
            yield voxels


def read_volume(path: Path) -> tuple[NDArray[np.int16], Geometry]:
    """Read a volume as canonical axial slices in HU, and their grid.

    Raises
    ------
    DataError
        The file cannot be read as a CT.
    """
    hu, grid, _ = _volume(path, _stamp(path))
    return hu, grid


def stated_values(path: Path) -> AnyArray:
    """Return a volume as canonical axial slices in the values that its file states, before HU.

    Raises
    ------
    DataError
        The file cannot be read as a CT.
    """
    return _volume(path, _stamp(path))[2]


def read_labels(path: Path) -> tuple[NDArray[np.uint8], Geometry]:
    """Read a volume's mask as canonical axial slices of 0 and 1 (any label), and their grid.

    Raises
    ------
    DataError
        The file cannot be read, or holds other values than labels.
    """
    return _labels(path, _stamp(path))


# Image and mask stay until the next ones; the stamp keeps a file that was written again from being
# taken for the one that was read before.
@lru_cache(maxsize=1)
def _volume(path: Path, _: Stamp) -> tuple[NDArray[np.int16], Geometry, AnyArray]:
    scan = read_scan(path, "auto")
    _warn(path, scan)
    try:
        values = scan.values()
    except ScanError as error:
        raise DataError(error.message, where=error.where or path, hint=error.hint) from error
    order = scan.geometry.to_canonical()
    values = np.ascontiguousarray(order.apply(values))
    hu = scan.intensity.to_hu(values)
    return hu, order.apply_to(scan.geometry), hu if scan.intensity == HU else values


@lru_cache(maxsize=1)
def _labels(path: Path, _: Stamp) -> tuple[NDArray[np.uint8], Geometry]:
    try:
        scan = masks.read_labels(path)
    except ScanError as error:
        raise DataError(error.message, where=error.where or path, hint=error.hint) from error
    _warn(path, scan)
    order = scan.geometry.to_canonical()
    lung = order.apply(scan.values()) > 0
    return np.ascontiguousarray(lung, np.uint8), order.apply_to(scan.geometry)


def _warn(path: Path, scan: Scan) -> None:
    for decision in scan.warnings:
        if decision.topic in ("units", "labels"):
            warnings.warn(f"{path.name}: {decision}", DataWarning, stacklevel=4)


def read_scan(path: Path, units: UnitsOption) -> Scan:
    """Read a scan as `pleura.read`; what is wrong with a file of a data set is a `DataError`.

    Raises
    ------
    DataError
        The file cannot be read as a scan.
    """
    try:
        return read(path, units=units)
    except ScanError as error:
        raise DataError(error.message, where=error.where or path, hint=error.hint) from error
