"""Masks as DICOM Segmentation objects (PS3.3 A.51), on the very slices that they are of."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.sr.coding import Code

import pleura
from pleura.errors import ScanError
from pleura.scan.dicom.header import quiet
from pleura.scan.dicom.opening import open_dicom
from pleura.scan.pictures import write_atomically
from pleura.scan.scan import BOTH, LEFT, RIGHT, Mask

_ORGAN = Code("123037004", "SCT", "Anatomical structure")
_LUNGS = {
    RIGHT: (Code("3341006", "SCT", "Right lung"), "Right lung", (0.9, 0.6, 0.0)),
    LEFT: (Code("44029006", "SCT", "Left lung"), "Left lung", (0.34, 0.71, 0.91)),
}
_BOTH = (Code("39607008", "SCT", "Lung"), "Lungs", (0.34, 0.71, 0.91))
"""SNOMED CT (PS3.16 CID 4031), label, and the colour that viewers are advised to use."""


_COPIED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_seg(path: Path, mask: Mask) -> None:
    """Write a mask as one DICOM SEG that refers to the slices of its scan.

    Raises
    ------
    ScanError
        The scan was not read from DICOM, or no lung was found: a SEG holds at least one frame.
    DataError
        The file cannot be written.
    """
    if mask.scan.format != "DICOM":
        raise ScanError(
            "a DICOM SEG refers to DICOM slices, and this scan has none",
            where=mask.scan.source,
            fix="write .nii.gz, or give the DICOM series itself",
        )
    if not mask.labels.any():
        raise ScanError(
            "no lung was found, and a DICOM SEG cannot be empty",
            where=mask.scan.source,
            fix="look at the scan; other formats can hold an empty mask",
        )
    content = io.BytesIO()
    try:
        with quiet():
            _segmentation(mask).save_as(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScanError(
            f"these DICOM slices lack what a DICOM SEG must refer to ({error})",
            where=mask.scan.source,
            fix="write .nii.gz instead",
        ) from error
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def _segmentation(mask: Mask) -> Any:
    import highdicom as hd

    stack = mask.scan.header
    frames = [(i, frame) for i, frame in enumerate(stack.frames) if frame is not None]
    paths = list(dict.fromkeys(frame.path for _, frame in frames))
    sources = [_complete(open_dicom(path, stop_before_pixels=True)) for path in paths]
    if len(paths) < len(frames):  # one multi-frame file: its own order of frames
        frames.sort(key=lambda pair: pair[1].index)
    labels = np.ascontiguousarray(mask.labels[[i for i, _ in frames]])
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=_ORGAN,
            segmented_property_type=code,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name=mask.algorithm[0],
                version=mask.algorithm[1],
                family=Code("123109", "DCM", "Artificial Intelligence"),
            ),
            display_color=hd.color.CIELabColor.from_rgb(*(round(255 * c) for c in colour)),
        )
        for number, (code, label, colour) in (_LUNGS if mask.sides else {BOTH: _BOTH}).items()
    ]
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=_series_number(sources[0]),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="pleura",
        manufacturer_model_name=mask.algorithm[0],
        software_versions=pleura.__version__,
        device_serial_number="0",
        series_description="Lungs",
        content_description="Lungs found by pleura; not for diagnosis",
    )


def _complete(source: Any) -> Any:
    """Give a slice the elements that highdicom copies, empty where anonymising took them."""
    for name in _COPIED:
        if name not in source:
            setattr(source, name, "")
    return source


def _series_number(source: Any) -> int:
    number = source.get("SeriesNumber")
    return 1000 + (int(number) if number is not None else 0)
