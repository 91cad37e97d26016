"""What DICOM objects derived from a CT series share: patient, study and references to slices."""

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
"""UTF-8 (PS3.3 C.12.1.1.2): every name that a source can hold can be written."""

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
"""Type 2 (PS3.3 C.7.1.1, C.7.2.1): present in the object, empty where the source has no value."""

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
_LARGEST_IS = (1 << 31) - 1  # of value representation IS (PS3.5 6.2)
_SERIES_OFFSET = 1000


def check_references(scan: Scan, kind: str) -> tuple[Decision, ...]:
    """Check that an object can refer to a scan's slices, and return what it cannot keep of them.

    Parameters
    ----------
    scan:
        The scan that a mask is of.
    kind:
        What the object is called in messages.

    Raises
    ------
    ScanError
        The scan was not read from DICOM, or a UID of its slices is missing, invalid or ambiguous.
    """
    frames = dicom_origin(scan, kind).present
    for keyword, field in _REFERENCES.items():
        problem = _problem([getattr(frame, field) for frame in frames])
        if keyword != "SOPInstanceUID" and not problem:
            found = len({getattr(frame, field) for frame in frames})
            problem = f"have {found} different values of" if found > 1 else ""
        if problem:
            raise _refusal(scan, kind, f"{problem} {_named(keyword)}")
    pairs = Counter((frame.sop_instance_uid, frame.index) for frame in frames)
    if len(pairs) < len(frames):
        raise _refusal(scan, kind, f"do not each have their own {_named('SOPInstanceUID')}")
    emptied = copy_patient_and_study(frames[0])[1]
    if not emptied:
        return ()
    names = ", ".join(emptied)
    reason = "the values in the DICOM slices are not valid"
    return (Decision("header", f"left empty in {kind}: {names}", reason, warning=True),)


def copy_patient_and_study(frame: Frame) -> tuple[Dataset, list[str]]:
    """Return patient and study of a slice in UTF-8, and the attributes that had to be emptied.

    Raises
    ------
    ScanError
        The file of the slice cannot be read any more.
    """
    try:
        with suppress_pydicom_log():
            source = read_dataset(frame.path, stop_before_pixels=True)
            encodings = convert_encodings(source.get("SpecificCharacterSet"))
    except (OSError, InvalidDicomError) as error:
        raise ScanError(
            "the slice cannot be read again, and the mask must refer to it",
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
    """Return a Series Number that tells the object from its source where the range allows."""
    number = _SERIES_OFFSET + frame.series_number
    return number if 0 < number <= _LARGEST_IS else _SERIES_OFFSET


def set_image_reference(item: Dataset, frame: Frame, *, whole: bool = False) -> Dataset:
    """Let an item refer to a slice: to its frame of a multi-frame file, or to the whole file."""
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.is_multiframe and not whole:
        item.ReferencedFrameNumber = frame.index + 1
    return item


def places(frame: Frame, geometry: Geometry, pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return LPS millimetres (n, 3) of (row, column) indices (n, 2) on a slice.

    They are counted from the slice's own Image Position (Patient), so that they lie in its plane
    where the slices are not quite evenly spaced.
    """
    points: NDArray[np.float64] = pixels @ geometry.affine[:3, 1:3].T + np.array(
        frame.image_position
    )
    return points


def to_long_string(text: str) -> str:
    """Return a text as value representation LO allows it: one value of at most 64 bytes."""
    value = "".join("_" if c == "\\" or not c.isprintable() else c for c in text)
    return value.encode()[:64].decode(errors="ignore").strip()


def _problem(uids: list[str]) -> str:
    if not all(uids):
        return "do not all have a" if any(uids) else "have no"
    return "" if all(UID(uid).is_valid for uid in uids) else "have an invalid"


def _refusal(scan: Scan, kind: str, what: str) -> ScanError:
    return ScanError(
        f"{kind} must refer to the DICOM slices, which {what}",
        where=scan.source or scan.name,
        hint="write .nii.gz, .nrrd or .mha, which refer to no slices",
    )


def _named(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{dictionary_description(keyword)} ({tag.group:04x},{tag.element:04x})"


def _text(source: Dataset, keyword: str, encodings: list[str]) -> str:
    """Return a value as it stands in the file, several values as one text with backslashes.

    pydicom would warn of what is not valid in words that quote it.
    """
    element = source.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = decode_bytes(value, encodings, TEXT_VR_DELIMS)
    return str(value or "").strip("\0 ")


def _is_valid(keyword: str, text: str) -> bool:
    """Tell whether a text is empty or one valid value of an attribute (PS3.5 6.2)."""
    decoded = text.isprintable() and not {"\\", "\ufffd"} & set(text)
    return not text or (decoded and _fits(keyword, text))


def _fits(keyword: str, text: str) -> bool:
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
