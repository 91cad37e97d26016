"""Identity of patients, from Patient ID, Patient's Name and study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pleura.formats.dicom.frames import Frame


def unify_patients(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames in which those of one patient have one value of ``patient``.

    Frames with different Patient IDs are of different patients. With one Patient ID, the family
    names or the studies of a patient agree; without Patient ID, the names agree. Trailing carets
    and spaces of a name have no meaning (PS3.5 6.2.1.1). A missing ID or name is completed from the
    study.
    """
    studies: dict[str, set[PatientIdentity]] = {}
    for frame in frames:
        studies.setdefault(frame.study_instance_uid, set()).add(_identity(frame))
    patients = {
        (frame.study_instance_uid, frame.patient): _complete_identity(
            *_identity(frame),
            studies[frame.study_instance_uid] if frame.study_instance_uid else set(),
        )
        for frame in frames
    }
    spellings: dict[PatientIdentity, dict[str, None]] = {}
    for (_, spelling), patient in patients.items():
        spellings.setdefault(patient, {})[spelling] = None
    return [
        replace(
            frame, patient=" ".join(spellings[patients[frame.study_instance_uid, frame.patient]])
        )
        for frame in frames
    ]


PatientIdentity = tuple[str, str]
"""Patient ID and Patient's Name."""


def _identity(frame: Frame) -> PatientIdentity:
    patient_id, _, name = frame.patient.partition("|")
    return patient_id.strip(), _normalise_name(name)


def _normalise_name(name: str) -> str:
    """Return the first representation of a name that is not empty, without trailing carets."""
    representation = next((part for part in name.split("=") if part.strip(" ^")), "")
    return (
        "^".join(" ".join(part.split()) for part in representation.split("^"))
        .rstrip("^")
        .casefold()
    )


def _complete_identity(patient_id: str, name: str, study: set[PatientIdentity]) -> PatientIdentity:
    """Complete an identity by the others in the study."""
    ids = {other for other, _ in study if other}
    if not patient_id and len(ids) == 1:
        (patient_id,) = ids
    same = {patient_id, ""} if len(ids) == 1 else {patient_id}
    names = sorted({other for own, other in study if own in same and other})
    if patient_id:
        return patient_id, (names or [name])[0].partition("^")[0]
    return "", name or (names[0] if len(names) == 1 else "")
