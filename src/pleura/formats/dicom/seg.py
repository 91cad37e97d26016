"""Masks as DICOM Segmentation objects (PS3.3 A.51) that refer to the slices of the scan."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, generate_uid
from pydicom.valuerep import DSfloat

import pleura
from pleura.errors import ScanError, first_line
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, label_colour, rgb
from pleura.files.atomic import write_atomically
from pleura.formats.class_codes import class_codes
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.origin import DicomOrigin, dicom_origin
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.formats.dicom.references import (
    copy_patient_and_study,
    series_number,
    set_image_reference,
    to_long_string,
)
from pleura.scan.geometry import Geometry
from pleura.scan.labels import BOTH, LEFT, RIGHT, Label, LabelMap

_ORGAN = Code("123037004", "SCT", "Anatomical structure")
_LUNGS = {
    RIGHT: (Code("3341006", "SCT", "Right lung"), "Right lung", RIGHT_LUNG),
    LEFT: (Code("44029006", "SCT", "Left lung"), "Left lung", LEFT_LUNG),
}
_BOTH = (Code("39607008", "SCT", "Lung"), "Lungs", RIGHT_LUNG)
"""SNOMED CT code (PS3.16 CID 4031), segment label, and recommended colour for display."""


def write_seg(path: Path, mask: LabelMap) -> None:
    """Write a mask as one DICOM SEG that refers to the slices of its scan.

    Raises
    ------
    ScanError
        The mask is empty, and a SEG has at least one frame; or the slices, which must have passed
        `check_references`, cannot be read again.
    DataError
        The file cannot be written.
    """
    origin = dicom_origin(mask.scan, "a DICOM SEG")
    present = [i for i, frame in enumerate(origin.frames) if frame is not None]
    if not mask.labels[present].any():
        raise ScanError(
            f"no {'label' if mask.classes else 'lung'} was found, and a DICOM SEG cannot be empty",
            where=mask.scan.source,
            hint="check the scan, or write another format for an empty mask",
        )
    content = io.BytesIO()
    try:
        with suppress_pydicom_log():
            _segmentation(mask, origin).save_as(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScanError(
            f"cannot create a DICOM SEG of these slices ({first_line(error)})",
            where=mask.scan.source,
            hint="write .nii.gz, .nrrd or .mha, which refer to no slices",
        ) from error
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def _segmentation(mask: LabelMap, origin: DicomOrigin) -> Any:
    import highdicom as hd

    slices = [(i, frame) for i, frame in enumerate(origin.frames) if frame is not None]
    patient_and_study = copy_patient_and_study(slices[0][1])[0]
    sources = [_placeholder_image(frame, mask.geometry, patient_and_study) for _, frame in slices]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=_segment_array(mask)[[i for i, _ in slices]],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_segments(mask),
        series_instance_uid=hd.UID(),
        series_number=series_number(slices[0][1]),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="pleura",
        manufacturer_model_name=to_long_string(mask.algorithm[0]) or "pleura",
        software_versions=pleura.__version__,
        device_serial_number="0",
        series_description="Segmentation" if mask.classes else "Lungs",
        content_description="Lungs segmented by pleura; not for diagnosis"
        if not mask.classes
        else "Segmented by pleura; not for diagnosis",
    )
    segmentation.update(patient_and_study)
    placeholders = (source.SOPInstanceUID for source in sources)
    _replace_references(segmentation, dict(zip(placeholders, (f for _, f in slices), strict=True)))
    return segmentation


def _segment_array(mask: LabelMap) -> NDArray[np.uint8]:
    """Return the segment of each voxel: segments are numbered from 1 without gaps.

    Of classes that may overlap, return the mask of each segment, (slices, rows, columns, segments).
    """
    if mask.overlap:
        layers = [mask.inside(label) for label in mask.regions.values()]
        return np.stack(layers, -1).view(np.uint8)
    table = np.zeros(256, np.uint8)
    for number, value in enumerate(mask.regions.values(), 1):
        table[value] = number
    numbers: NDArray[np.uint8] = table[mask.labels]
    return numbers


def _descriptions(mask: LabelMap) -> list[tuple[Code, Code, str, str]]:
    """Return category, type, label and colour of each segment."""
    if not mask.classes:
        lungs = _LUNGS if mask.sides else {BOTH: _BOTH}
        return [(_ORGAN, *description) for description in lungs.values()]
    return [
        (*_codes_of(label), to_long_string(label.name), label_colour(i + 1))
        for i, label in enumerate(mask.classes)
    ]


def _codes_of(label: Label) -> tuple[Code, Code]:
    """Return the category and the type of a class."""
    category, kind = (Code(value, scheme, text) for scheme, value, text in class_codes(label))
    return category, kind


def _segments(mask: LabelMap) -> list[Any]:
    """Describe right and left lung, both as one segment, or each of several classes.

    The algorithm of a mask that was read from a file is unknown; the standard requires one.
    """
    import highdicom as hd

    name, version = (to_long_string(word) for word in mask.algorithm)
    types, families = hd.seg.SegmentAlgorithmTypeValues, codes.cid7162
    algorithm = hd.AlgorithmIdentificationSequence(
        name=name or "unknown",
        version=version or "unknown",
        family=families.ArtificialIntelligence if name else families.ManualProcessing,
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=code,
            algorithm_type=types.AUTOMATIC if name else types.SEMIAUTOMATIC,
            algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*rgb(colour)),
        )
        for number, (category, code, label, colour) in enumerate(_descriptions(mask), 1)
    ]


def _placeholder_image(frame: Frame, geometry: Geometry, patient_and_study: Dataset) -> Dataset:
    """Return a single-frame CT Image with the attributes that highdicom requires, all valid.

    Its SOP Instance UID is new and unique, also for frames of one multi-frame file.
    """
    source = Dataset()
    source.update(patient_and_study)
    # highdicom quotes a name of one component in a warning; the name is set afterwards.
    source.add_new("PatientName", "PN", "")
    source.SOPClassUID, source.SOPInstanceUID = CTImageStorage, generate_uid()
    source.SeriesInstanceUID, source.Modality = frame.series_instance_uid, "CT"
    source.Rows, source.Columns = frame.rows, frame.columns
    source.ImagePositionPatient = _decimal(frame.image_position)
    directions = geometry.directions.T  # of slice, row and column index
    source.ImageOrientationPatient = _decimal((*directions[2], *directions[1]))
    source.PixelSpacing = _decimal(geometry.spacing[1:])
    thickness = frame.slice_thickness or 0.0
    source.SliceThickness = _decimal(
        [thickness if thickness > 0 else geometry.orthogonal_spacing[0]]
    )[0]
    source.LossyImageCompression = "01" if frame.lossy else "00"
    return source


def _decimal(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(float(value), auto_format=True) for value in values]


def _replace_references(segmentation: Dataset, frames: Mapping[str, Frame]) -> None:
    """Replace references to the images of `_placeholder_image` by references to the frames."""
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for source in derivation.SourceImageSequence:
                if source.ReferencedSOPInstanceUID in frames:  # segments share these items
                    set_image_reference(source, frames[source.ReferencedSOPInstanceUID])
    unique = {frame.sop_instance_uid: frame for frame in frames.values()}
    for series in segmentation.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = [
            set_image_reference(Dataset(), frame, whole_file=True) for frame in unique.values()
        ]
