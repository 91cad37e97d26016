"""Masks as DICOM RT Structure Sets (PS3.3 A.19): contours on the slices of the scan."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import floor, log10
from pathlib import Path
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

import pleura
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, label_colour, rgb
from pleura.files.atomic import write_atomically
from pleura.formats.dicom.contours import find_contours
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.origin import DicomOrigin, dicom_origin
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.formats.dicom.references import (
    copy_patient_and_study,
    pixels_to_patient,
    series_number,
    set_image_reference,
    to_long_string,
)
from pleura.scan.bit_field import has_label
from pleura.scan.labels import BOTH, LEFT, RIGHT, LabelMap

_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, required by PS3.3 C.8.8.5
_SEPARATE = {RIGHT: ("Lung_R", RIGHT_LUNG), LEFT: ("Lung_L", LEFT_LUNG)}
_COMBINED = {BOTH: ("Lungs", RIGHT_LUNG)}
"""Names of AAPM TG-263, and colours."""


def write_rtstruct(path: Path, mask: LabelMap) -> None:
    """Write a mask as an RT Structure Set that refers to the slices of its scan.

    Contours run half-way between the centres of pixels inside and outside, so that filling them
    by pixel centres reproduces the mask. Each hole of a region is joined to its contour by a
    keyhole (PS3.3 C.8.8.6.3): it is filled correctly both by the union of the contours of a slice
    and by the even-odd rule. A lung that was not found is a structure without contours.

    Raises
    ------
    ScanError
        The slices, which must have passed `check_references`, cannot be read again.
    DataError
        The file cannot be written.
    """
    origin = dicom_origin(mask.scan, "an RT Structure Set")
    content = io.BytesIO()
    with suppress_pydicom_log():
        _structure_set(mask, origin).save_as(content, enforce_file_format=True)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def _structure_set(mask: LabelMap, origin: DicomOrigin) -> Dataset:
    first = origin.first
    dataset, now = copy_patient_and_study(first)[0], datetime.now()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.Manufacturer = "RTSTRUCT", "pleura"
    dataset.ManufacturerModelName = to_long_string(mask.algorithm[0]) or "pleura"
    dataset.SoftwareVersions = pleura.__version__
    dataset.SeriesNumber, dataset.InstanceNumber = series_number(first), 1
    description = "Segmentation" if mask.classes else "Lungs"
    dataset.SeriesDescription = dataset.StructureSetLabel = description
    dataset.StructureSetDate, dataset.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.OperatorsName = ""
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame_of_reference(origin.present)]
    rois = _rois(mask)
    dataset.StructureSetROISequence = [
        _item(
            ROINumber=label,
            ReferencedFrameOfReferenceUID=first.frame_of_reference_uid,
            ROIName=name,
            ROIGenerationAlgorithm="AUTOMATIC" if mask.algorithm[0] else "",
        )
        for label, (name, _) in rois.items()
    ]
    dataset.ROIContourSequence = [
        _roi_contour(mask, origin, number, (label, colour))
        for (number, (_, colour)), label in zip(rois.items(), mask.regions.values(), strict=True)
    ]
    dataset.RTROIObservationsSequence = [
        _item(
            ObservationNumber=label,
            ReferencedROINumber=label,
            RTROIInterpretedType="" if mask.classes else "ORGAN",
            ROIInterpreter="",
        )
        for label in rois
    ]
    return dataset


def _rois(mask: LabelMap) -> dict[int, tuple[str, str]]:
    """Return name and colour of each structure by its number."""
    if not mask.classes:
        return _SEPARATE if mask.sides else _COMBINED
    return {
        label.value: (to_long_string(label.name), label_colour(i + 1))
        for i, label in enumerate(mask.classes)
    }


def _roi_contour(
    mask: LabelMap, origin: DicomOrigin, number: int, label_and_colour: tuple[int, str]
) -> Dataset:
    label, colour = label_and_colour
    item = _item(ReferencedROINumber=number, ROIDisplayColor=list(rgb(colour)))
    contours = list(_contours(mask, origin, label))
    if contours:  # type 3: an empty sequence is not valid
        item.ContourSequence = contours
    return item


def _contours(mask: LabelMap, origin: DicomOrigin, label: int) -> Iterator[Dataset]:
    digits = max(3, 2 - floor(log10(min(mask.geometry.spacing[1:]))))  # a hundredth of a pixel
    for i, frame in enumerate(origin.frames):
        inside = has_label(mask.labels[i], label)
        if frame is None or not inside.any():
            continue
        for ring in find_contours(inside):
            points = pixels_to_patient(frame, mask.geometry, ring)
            contour = _item(
                ContourImageSequence=[set_image_reference(Dataset(), frame)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
            )
            # Conversion of these texts to numbers by pydicom would take most of the time.
            texts = [f"{value:.{digits}f}" for value in points.ravel()]
            contour.add(DataElement("ContourData", "DS", texts, already_converted=True))
            yield contour


def _referenced_frame_of_reference(frames: Sequence[Frame]) -> Dataset:
    series = _item(
        SeriesInstanceUID=frames[0].series_instance_uid,
        ContourImageSequence=[set_image_reference(Dataset(), frame) for frame in frames],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_COMPONENT,
        ReferencedSOPInstanceUID=frames[0].study_instance_uid,
        RTReferencedSeriesSequence=[series],
    )
    return _item(
        FrameOfReferenceUID=frames[0].frame_of_reference_uid, RTReferencedStudySequence=[study]
    )


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item
