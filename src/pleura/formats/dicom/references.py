"""Patient, study and references to slices in objects that are derived from a CT series."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import RAISE
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import TEXT_VR_DELIMS, validate_value

from pleura.errors import ScanError
from pleura.formats.dicom.dataset import read_dataset
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.origin import dicom_origin
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Decision, Scan

CHARACTER_SET = "ISO_IR 192"
"""UTF-8 (PS3.3 C.12.1.1.2), which can encode every name in the source."""

_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes of type 2 (PS3.3 C.7.1.1, C.7.2.1): present, and empty if the source has no value."""

_OPTIONAL = (
    "IssuerOfPatientID",
    "StudyDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "PositionReferenceIndicator",
)
_SEXES = ("M", "F", "O")
_REFERENCES = {
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "FrameOfReferenceUID": "frame_of_reference_uid",
}
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_MAX_IS = (1 << 31) - 1  # of value representation IS (PS3.5 6.2)
_SERIES_OFFSET = 1000


def check_references(scan: Scan, kind: str) -> tuple[Decision, ...]:
    """Check that a DICOM object can refer to the slices of a scan.

    Parameters
    ----------
    scan:
        The scan of a mask.
    kind:
        Name of the object in messages, for example ``a DICOM SEG``.

    Returns
    -------
    tuple of Decision
        A warning about attributes that are left empty because their values are not valid.

    Raises
    ------
    ScanError
        The scan was not read from DICOM, or a UID of its slices is missing, invalid or ambiguous.
    """
    frames = dicom_origin(scan, kind).present
    for keyword, field in _REFERENCES.items():
        problem = _uid_problem([getattr(frame, field) for frame in frames])
        if keyword != "SOPInstanceUID" and not problem:
            count = len({getattr(frame, field) for frame in frames})
            problem = f"have {count} different values of" if count > 1 else ""
        if problem:
            raise _reference_error(scan, kind, f"{problem} {_name_and_tag(keyword)}")
    pairs = Counter((frame.sop_instance_uid, frame.index) for frame in frames)
    if len(pairs) < len(frames):
        raise _reference_error(
            scan, kind, f"do not each have their own {_name_and_tag('SOPInstanceUID')}"
        )
    emptied = copy_patient_and_study(frames[0])[1]
    if not emptied:
        return ()
    names = ", ".join(emptied)
    reason = "the values in the DICOM slices are invalid"
    return (Decision("header", f"left empty in {kind}: {names}", reason, warning=True),)


def copy_patient_and_study(frame: Frame) -> tuple[Dataset, list[str]]:
    """Copy the attributes of patient and study from a slice, encoded in UTF-8.

    Returns
    -------
    dataset:
        The attributes.
    emptied:
        Names of the attributes that are left empty because their values are not valid.

    Raises
    ------
    ScanError
        The file of the slice cannot be read again.
    """
    try:
        with suppress_pydicom_log():
            source = read_dataset(frame.path, stop_before_pixels=True)
            encodings = convert_encodings(source.get("SpecificCharacterSet"))
    except (OSError, InvalidDicomError) as error:
        raise ScanError(
            "the slice that the mask refers to cannot be read again",
            where=frame.path,
            hint="keep the DICOM files until the mask is written",
        ) from error
    texts = {name: _text(source, name, encodings) for name in (*_REQUIRED, *_OPTIONAL)}
    invalid = [name for name, text in texts.items() if not _is_valid(name, text)]
    dataset = Dataset()
    dataset.SpecificCharacterSet = CHARACTER_SET
    for name, text in texts.items():
        if name in _REQUIRED or (text and name not in invalid):
            setattr(dataset, name, "" if name in invalid else text)
    if "DeidentificationMethod" not in dataset and "PatientIdentityRemoved" in dataset:
        del dataset.PatientIdentityRemoved  # PS3.3 C.7.1.1: one is required with the other
    dataset.PositionReferenceIndicator = dataset.get("PositionReferenceIndicator", "")
    dataset.StudyInstanceUID = frame.study_instance_uid
    dataset.FrameOfReferenceUID = frame.frame_of_reference_uid
    return dataset, [dictionary_description(name) for name in invalid if name in _REQUIRED]


def series_number(frame: Frame) -> int:
    """Return a Series Number for the object: that of its source plus 1000, if the range allows."""
    number = _SERIES_OFFSET + frame.series_number
    return number if 0 < number <= _MAX_IS else _SERIES_OFFSET


def set_image_reference(item: Dataset, frame: Frame, *, whole_file: bool = False) -> Dataset:
    """Set the reference of an item to a slice (PS3.3 10.3), and return the item.

    Parameters
    ----------
    item:
        The item of a sequence.
    frame:
        The slice.
    whole_file:
        Refer to the whole file, not to a frame of it.
    """
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.is_multiframe and not whole_file:
        item.ReferencedFrameNumber = frame.index + 1
    return item


def pixels_to_patient(
    frame: Frame, geometry: Geometry, pixels: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the LPS coordinates (n, 3) in mm of (row, column) indices (n, 2) on a slice.

    The origin is the slice's own Image Position (Patient), so that the points are in its plane
    even if the slices are not exactly evenly spaced (PS3.3 C.7.6.2.1.1).
    """
    points: NDArray[np.float64] = pixels @ geometry.affine[:3, 1:3].T + np.array(
        frame.image_position
    )
    return points


def to_long_string(text: str) -> str:
    """Return a text as one value of value representation LO: at most 64 bytes (PS3.5 6.2)."""
    value = "".join("_" if c == "\\" or not c.isprintable() else c for c in text)
    return value.encode()[:64].decode(errors="ignore").strip()


def _uid_problem(uids: list[str]) -> str:
    if not all(uids):
        return "do not all have a" if any(uids) else "have no"
    return "" if all(UID(uid).is_valid for uid in uids) else "have an invalid"


def _reference_error(scan: Scan, kind: str, problem: str) -> ScanError:
    return ScanError(
        f"{kind} must refer to the DICOM slices, which {problem}",
        where=scan.source or scan.name,
        hint="write .nii.gz, .nrrd or .mha, which refer to no slices",
    )


def _name_and_tag(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{dictionary_description(keyword)} ({tag.group:04x},{tag.element:04x})"


def _text(source: Dataset, keyword: str, encodings: list[str]) -> str:
    """Return the value in the file, several values as one text with backslashes.

    The warnings of pydicom about invalid values would quote patient data.
    """
    element = source.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = decode_bytes(value, encodings, TEXT_VR_DELIMS)
    return str(value or "").strip("\0 ")


def _is_valid(keyword: str, text: str) -> bool:
    """Return whether a text is empty or one valid value of an attribute (PS3.5 6.2)."""
    decoded = text.isprintable() and not {"\\", "\ufffd"} & set(text)
    return not text or (decoded and _fits_representation(keyword, text))


def _fits_representation(keyword: str, text: str) -> bool:
    representation = dictionary_VR(keyword)
    if keyword == "PatientSex":
        return text in _SEXES
    if representation == "TM":
        return _TIME.fullmatch(text) is not None
    try:
        validate_value(representation, text, RAISE)
        if representation == "DA":
            datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return representation != "PN" or all(group.count("^") <= 4 for group in text.split("="))
