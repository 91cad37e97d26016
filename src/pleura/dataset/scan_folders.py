"""Folders and archives of DICOM slices as images of a data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pleura.dataset.volumes import read_scan
from pleura.errors import DataError, ScanError
from pleura.files.listing import files_below
from pleura.formats.dicom.format import DICOM
from pleura.formats.image_files import IMAGE_SUFFIXES, list_image_files
from pleura.formats.read_segments import read_segments
from pleura.formats.registry import VOLUME_SUFFIXES
from pleura.names import short_hash
from pleura.scan.scan import Scan

_ZIP = ".zip"


def list_images(folder: Path) -> list[Path]:
    """Return the images and volumes directly in a folder; if there are none, its DICOM scans.

    A DICOM scan is a folder that contains only DICOM files, or a zip.

    Raises
    ------
    DataError
        As `list_image_files`.
    """
    suffixes = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
    return _dicom_scans(folder, suffixes) or list_image_files(folder, suffixes)


def list_masks(folder: Path) -> list[Path]:
    """Return the masks directly in a folder; if there are none, its folders with a DICOM file each.

    Raises
    ------
    DataError
        As `list_image_files`.
    """
    suffixes = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, *DICOM.suffixes)
    scans = [path for path in _dicom_scans(folder, suffixes) if path.is_dir()]
    return scans or list_image_files(folder, suffixes)


def is_dicom_scan(path: Path) -> bool:
    """Return whether a path in a data set is a folder or a zip of DICOM slices."""
    return path.name.lower().endswith(_ZIP) or path.is_dir()


def match_by_series(images: Iterable[Path], masks: Iterable[Path]) -> dict[Path, Path]:
    """Return the image by mask, for masks that refer to the DICOM series of one image."""
    series: dict[str, list[Path]] = {}
    for image in images:
        try:
            uid = read_scan(image, "hu").origin.series_instance_uid
        except DataError:  # reported when it is read as an image
            continue
        if uid:
            series.setdefault(uid, []).append(image)
    found: dict[Path, Path] = {}
    for mask in masks if series else ():
        try:
            file = read_segments(mask)
        except (ScanError, DataError):
            continue
        candidates = [
            image for uid in (file.series_uids if file else ()) for image in series.get(uid, ())
        ]
        if len(candidates) == 1:
            found[mask] = candidates[0]
    once = [image for image in found.values() if list(found.values()).count(image) == 1]
    return {mask: image for mask, image in found.items() if image in once}


def patient_key(scan: Scan) -> str:
    """Return the patient in the header of a DICOM file; empty if the header has none."""
    return scan.origin.patient.strip("|^ ")


def patient_group(scan: Scan) -> str:
    """Return a hash of the patient in the header of a DICOM file; empty if the header has none."""
    patient = patient_key(scan)
    return hashlib.sha256(patient.encode()).hexdigest()[:16] if patient else ""


def public_name(name: str, scan: Scan) -> str:
    """Return the name of a DICOM folder, as a hash if it contains a word of the patient's name."""
    return f"scan-{short_hash(name)}" if _words(name) & _words(patient_key(scan)) else name


def _words(text: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", text.casefold()) if len(word) > 1}


def _dicom_scans(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the folders and zips of DICOM files, unless the folder has files with suffixes."""
    if not folder.is_dir():
        return []
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if any(path.name.lower().endswith(suffixes) and path.is_file() for path in visible):
        return []
    return [path for path in visible if _contains_dicom(path)]


def _contains_dicom(path: Path) -> bool:
    if path.is_file():
        return path.name.lower().endswith(_ZIP)
    others = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)
    files = files_below(path) if path.is_dir() else []
    return bool(files) and not any(file.name.lower().endswith(others) for file in files)
