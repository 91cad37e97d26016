"""Save corrected masks beside the masks, with a record of the changes."""

from __future__ import annotations

import getpass
import gzip
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.corrections.cases import ReviewCase
from pleura.errors import DataError, PleuraError
from pleura.evaluation.metrics import dice
from pleura.files.atomic import remove_unfinished
from pleura.files.hashing import hash_files
from pleura.files.records import read_record, write_json
from pleura.files.temporary import temporary_folder
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.masks.labels import whole_labels
from pleura.masks.mask import Mask
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan
from pleura.typing import BoolArray


def save_correction(case: ReviewCase, content: bytes) -> dict[str, Any]:
    """Write a corrected mask as ``NAME.corrected.nii.gz``, and its record.

    The mask itself is not changed. The record ``NAME.corrected.json`` contains the user, the time,
    the version of pleura, the changed slices, and the changes of each lung in voxels, ml and Dice.

    Parameters
    ----------
    case:
        The scan and its mask.
    content:
        A NIfTI file of labels, 1 right and 2 left lung, on the grid of the scan.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    DataError
        The case has no mask or one of other structures than lungs, or ``content`` is not a mask of
        the scan.
    """
    target = case.corrected_path
    if target is None or case.mask_path is None:
        raise DataError("the scan has no mask", where=case.name, hint="segment the scan first")
    scan = case.read_scan()
    after = _labels_of(content, scan)
    displayed = case.read_displayed(case.mask_path, scan)
    if displayed.classes:
        raise DataError(
            "the mask has other structures than lungs, which cannot be corrected",
            where=case.mask_path,
            hint="edit it in 3D Slicer or ITK-SNAP",
        )
    before = displayed.labels
    mask = Mask(after, scan, sides=True, algorithm=("corrected by hand", pleura.__version__))
    record: dict[str, Any] = {
        "mask": case.mask_path.name,
        "corrected": target.name,
        "user": _user_name(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pleura": pleura.__version__,
        "changes": {
            side: _change(before == label, after == label, scan)
            for side, label in (("right", RIGHT), ("left", LEFT))
        },
    }
    changed = scan.geometry.to_canonical().apply(before != after).any(axis=(1, 2))
    earlier = _recorded_slices(read_record(record_path(target))) or []
    record["changed_slices"] = sorted({*earlier, *np.flatnonzero(changed).tolist()})
    write_labels(target, mask)
    record["sha256"] = hash_files([target])
    write_json(record_path(target), record)
    for path in (target, record_path(target)):
        remove_unfinished(path)
    return record


def record_path(corrected: Path) -> Path:
    """Return the path of the record of a corrected mask."""
    return corrected.with_name(corrected.name.removesuffix(".nii.gz") + ".json")


def read_changed_slices(corrected: Path) -> list[int] | None:
    """Return the indices of the axial slices, from foot to head, that a user has changed.

    Returns None if there is no record of this file: saving was interrupted, or another tool has
    changed the file since.
    """
    record = read_record(record_path(corrected))
    recorded = record.get("sha256")  # not in records of version 0.1.0
    matches = not recorded or recorded == hash_files([corrected])
    return _recorded_slices(record) if matches else None


def _recorded_slices(record: Mapping[str, Any]) -> list[int] | None:
    key = "changed_slices" if "changed_slices" in record else "slices"  # of earlier versions
    try:
        return [int(index) for index in record[key]]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _user_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a user without a name, as in containers
        return None


def _labels_of(content: bytes, scan: Scan) -> NDArray[np.uint8]:
    """Read labels from the bytes of a NIfTI file, and check that they are on the scan's grid."""
    with temporary_folder() as folder:
        compressed = content[:2] == b"\x1f\x8b"
        path = folder / ("mask.nii.gz" if compressed else "mask.nii")
        path.write_bytes(content)
        try:
            stored = read(path, units="hu")
            fits = stored.geometry.matches(scan.geometry)
            labels = whole_labels(stored) if fits else None
        except (PleuraError, gzip.BadGzipFile, EOFError) as error:
            raise DataError(
                "the corrected mask is not a NIfTI file of labels",
                where=scan.name,
                hint="correct the mask and save it again",
            ) from error
    if labels is None or not set(np.unique(labels)) <= {0, RIGHT, LEFT}:
        raise DataError(
            "the corrected mask does not fit the scan",
            where=scan.name,
            hint="open the scan again, and use the labels 1 right and 2 left",
        )
    return labels.astype(np.uint8)


def _change(before: BoolArray, after: BoolArray, scan: Scan) -> dict[str, float | None]:
    changed, overlap = int(np.count_nonzero(before != after)), dice(before, after)
    known = scan.geometry.spacing_known
    return {
        "voxels": changed,
        "ml": round(changed * scan.geometry.voxel_volume, 3) if known else None,
        "dice": None if np.isnan(overlap) else overlap,
    }
