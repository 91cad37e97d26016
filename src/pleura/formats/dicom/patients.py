"""Which frames are of one patient, by Patient ID, Patient's Name and study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pleura.formats.dicom.frames import Frame


def unify_patients(frames: Sequence[Frame]) -> list[Frame]:
    """Give the frames of one patient one value of ``patient``.

    Patient IDs are compared first: two of them are two patients. With one Patient ID the family
    names agree, or the study; without, the names agree. Trailing carets and blanks of a name carry
    no meaning (PS3.5 6.2.1.1). A missing ID or name is completed from the study.
    """
    studies: dict[str, set[Identity]] = {}
    for frame in frames:
        studies.setdefault(frame.study_instance_uid, set()).add(_identity(frame))
    patients = {
        (frame.study_instance_uid, frame.patient): _completed(
            *_identity(frame),
            studies[frame.study_instance_uid] if frame.study_instance_uid else set(),
        )
        for frame in frames
    }
    spellings: dict[Identity, dict[str, None]] = {}
    for (_, spelling), patient in patients.items():
        spellings.setdefault(patient, {})[spelling] = None
    return [
        replace(
            frame, patient=" ".join(spellings[patients[frame.study_instance_uid, frame.patient]])
        )
        for frame in frames
    ]


Identity = tuple[str, str]
"""Patient ID and Patient's Name."""


def _identity(frame: Frame) -> Identity:
    number, _, name = frame.patient.partition("|")
    return number.strip(), _plain_name(name)


def _plain_name(name: str) -> str:
    """Return the first representation of a name, without what carries no meaning."""
    spoken = next((part for part in name.split("=") if part.strip(" ^")), "")
    return "^".join(" ".join(one.split()) for one in spoken.split("^")).rstrip("^").casefold()


def _completed(number: str, name: str, study: set[Identity]) -> Identity:
    """Return what identifies the patient, given the identities in the study."""
    numbers = {other for other, _ in study if other}
    if not number and len(numbers) == 1:
        (number,) = numbers
    same = {number, ""} if len(numbers) == 1 else {number}
    names = sorted({other for own, other in study if own in same and other})
    if number:
        return number, (names or [name])[0].partition("^")[0]
    return "", name or (names[0] if len(names) == 1 else "")
