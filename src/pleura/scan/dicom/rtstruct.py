"""Masks as DICOM RT Structure Sets (PS3.3 A.19): contours on the slices that they are of."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

import pleura
from pleura.errors import ScanError
from pleura.scan.dicom.header import Frame, quiet
from pleura.scan.dicom.opening import open_dicom
from pleura.scan.pictures import write_atomically
from pleura.scan.scan import BOTH, LEFT, RIGHT, Mask

SUFFIX = ".rtstruct.dcm"

_RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as PS3.3 C.8.8.5 asks
_SIDES = {RIGHT: ("Lung_R", (230, 159, 0)), LEFT: ("Lung_L", (86, 180, 233))}
_ONE = {BOTH: ("Lungs", (86, 180, 233))}
"""Names of AAPM TG-263, and colours."""

_COPIED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def write_rtstruct(path: Path, mask: Mask) -> None:
    """Write a mask as an RT Structure Set that refers to the slices of its scan.

    Contours run half-way between the centres of pixels inside and outside, so that drawing them
    again by pixel centres gives the mask back.

    Raises
    ------
    ScanError
        The scan was not read from DICOM.
    DataError
        The file cannot be written.
    """
    if mask.scan.format != "DICOM":
        raise ScanError(
            "an RT Structure Set refers to DICOM slices, and this scan has none",
            where=mask.scan.source,
            fix="write .nii.gz, or give the DICOM series itself",
        )
    content = io.BytesIO()
    with quiet():
        _structure_set(mask).save_as(content, enforce_file_format=True)
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def _structure_set(mask: Mask) -> Dataset:
    first: Frame = mask.scan.header.first
    source = open_dicom(first.path, stop_before_pixels=True)
    dataset, now = Dataset(), datetime.now()
    for name in _COPIED:
        setattr(dataset, name, source.get(name, ""))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(_RT_STRUCTURE_SET)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality, dataset.Manufacturer = "RTSTRUCT", "pleura"
    dataset.ManufacturerModelName = mask.algorithm[0][:64]
    dataset.SoftwareVersions = pleura.__version__
    dataset.SeriesNumber, dataset.InstanceNumber = 1000 + first.series_number, 1
    dataset.SeriesDescription = dataset.StructureSetLabel = "Lungs"
    dataset.StructureSetDate, dataset.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.OperatorsName = ""
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_referenced(mask, source)]
    rois = _SIDES if mask.sides else _ONE
    dataset.StructureSetROISequence = [
        _item(
            ROINumber=label,
            ReferencedFrameOfReferenceUID=first.frame_of_reference,
            ROIName=name,
            ROIGenerationAlgorithm="AUTOMATIC",
        )
        for label, (name, _) in rois.items()
    ]
    dataset.ROIContourSequence = [
        _item(
            ReferencedROINumber=label,
            ROIDisplayColor=list(colour),
            ContourSequence=list(_contours(mask, label)),
        )
        for label, (_, colour) in rois.items()
    ]
    dataset.RTROIObservationsSequence = [
        _item(
            ObservationNumber=label,
            ReferencedROINumber=label,
            RTROIInterpretedType="ORGAN",
            ROIInterpreter="",
        )
        for label in rois
    ]
    return dataset


def _contours(mask: Mask, label: int) -> Iterator[Dataset]:
    for i, frame in enumerate(mask.scan.header.frames):
        inside = mask.labels[i] == label
        if frame is None or not inside.any():
            continue
        padded = np.pad(inside.astype(np.float32), 1)
        for line in contour_generator(z=padded).lines(0.5):
            columns, rows = np.asarray(line)[:-1].T - 1
            points: NDArray[np.float64] = mask.geometry.world(
                np.stack([np.full_like(rows, i), rows, columns], -1)
            )
            yield _item(
                ContourImageSequence=[_image(frame)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.3f}" for value in points.ravel()],
            )


def _referenced(mask: Mask, source: Dataset) -> Dataset:
    frames = mask.scan.header.present
    series = _item(
        SeriesInstanceUID=frames[0].series,
        ContourImageSequence=[_image(frame) for frame in frames],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_COMPONENT,
        ReferencedSOPInstanceUID=source.get("StudyInstanceUID", ""),
        RTReferencedSeriesSequence=[series],
    )
    return _item(
        FrameOfReferenceUID=frames[0].frame_of_reference, RTReferencedStudySequence=[study]
    )


def _image(frame: Frame) -> Dataset:
    image = _item(ReferencedSOPClassUID=frame.sop_class, ReferencedSOPInstanceUID=frame.instance)
    if frame.of_many:
        image.ReferencedFrameNumber = frame.index + 1
    return image


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item
