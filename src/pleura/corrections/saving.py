"""Corrected masks: a new file beside the old one, and a record of what was changed."""

from __future__ import annotations

import getpass
import gzip
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

import pleura
from pleura.corrections.cases import ViewCase
from pleura.errors import DataError, PleuraError
from pleura.evaluation.metrics import dice
from pleura.files.atomic import remove_unfinished
from pleura.files.hashing import hash_files
from pleura.files.records import read_record, write_json
from pleura.files.temporary import temporary_folder
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.masks.labels import read_mask, whole_labels
from pleura.masks.mask import Mask
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan


def save_correction(case: ViewCase, content: bytes) -> dict[str, Any]:
    """Write what was drawn, a NIfTI file, as ``NAME.corrected.nii.gz``; return its record.

    The old mask stays. The record is beside it, as ``NAME.corrected.json``: who, when, with what,
    and what changed by side, in ml and in Dice.

    Raises
    ------
    DataError
        There is no mask to correct, or what was drawn is no mask of the scan.
    """
    target = case.corrected
    if target is None or case.mask is None:
        raise DataError(
            "there is no mask to correct", where=case.name, hint="segment the scan first"
        )
    scan = case.load()
    drawn = _drawn(content, scan)
    before = read_mask(case.mask, scan)
    mask = Mask(drawn, scan, sides=True, algorithm=("corrected by hand", pleura.__version__))
    record: dict[str, Any] = {
        "mask": case.mask.name,
        "corrected": target.name,
        "who": _who(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pleura": pleura.__version__,
        "changes": {
            side: _change(before.labels == label, drawn == label, scan)
            for side, label in (("right", RIGHT), ("left", LEFT))
        },
    }
    changed = scan.geometry.to_canonical().apply(before.labels != drawn).any(axis=(1, 2))
    earlier = _recorded_slices(read_record(record_of(target))) or []
    record["slices"] = sorted({*earlier, *np.flatnonzero(changed).tolist()})
    write_labels(target, mask)
    record["sha256"] = hash_files([target])
    write_json(record_of(target), record)
    for path in (target, record_of(target)):
        remove_unfinished(path)
    return record


def record_of(corrected: Path) -> Path:
    """Return where the record of a corrected mask is."""
    return corrected.with_name(corrected.name.removesuffix(".nii.gz") + ".json")


def corrected_slices(corrected: Path) -> list[int] | None:
    """Return the axial slices, from foot to head, that a person changed; None if not recorded.

    A record of another file does not count: of a correction whose saving was killed, or that was
    edited by another tool since.
    """
    record = read_record(record_of(corrected))
    known = record.get("sha256")  # not in records of version 0.1.0
    return None if known and known != hash_files([corrected]) else _recorded_slices(record)


def _recorded_slices(record: dict[str, Any]) -> list[int] | None:
    try:
        return [int(one) for one in record["slices"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _who() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a user without a name, as in containers
        return None


def _drawn(content: bytes, scan: Scan) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read labels from the bytes of a NIfTI file and hold them to the scan's grid."""
    with temporary_folder() as folder:
        packed = content[:2] == b"\x1f\x8b"
        path = folder / ("drawn.nii.gz" if packed else "drawn.nii")
        path.write_bytes(content)
        try:
            found = read(path, units="hu")
            fits = found.geometry.fits(scan.geometry)
            labels = whole_labels(found) if fits else None
        except (PleuraError, gzip.BadGzipFile, EOFError) as error:
            raise DataError(
                "what was sent is no NIfTI mask", where=scan.name, hint="draw and save again"
            ) from error
    if labels is None or not set(np.unique(labels)) <= {0, RIGHT, LEFT}:
        raise DataError(
            "what was sent is no mask of this scan",
            where=scan.name,
            hint="open the scan again; labels are 1 right and 2 left",
        )
    return labels.astype(np.uint8)


def _change(before: Any, after: Any, scan: Scan) -> dict[str, float | None]:
    changed, overlap = int(np.count_nonzero(before != after)), dice(before, after)
    known = scan.geometry.spacing_known
    return {
        "voxels": changed,
        "ml": round(changed * scan.geometry.voxel_volume, 3) if known else None,
        "dice": None if np.isnan(overlap) else overlap,
    }
