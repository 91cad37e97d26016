"""CT frames of DICOM files, by their headers; other files are skipped with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from pleura.errors import first_line
from pleura.files.limits import readable_size
from pleura.formats.dicom.attributes import find_attribute, to_floats, to_int, to_strings
from pleura.formats.dicom.dataset import read_dataset
from pleura.formats.dicom.deflate import exceeds_inflation_limit, inflation_limit
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
from pleura.formats.dicom.suffixes import DICOM_SUFFIXES
from pleura.typing import AnyArray

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
}
"""Storage classes of CT (PS3.4 B.5)."""

MAX_FRAMES = 1 << 14
MAX_PIXELS = 1 << 28

_LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81)}


@dataclass(frozen=True)
class Frame:
    """Header of one CT frame.

    Attributes
    ----------
    path:
        The file.
    index:
        Index of the frame in the file, from 0.
    is_multiframe:
        Whether the file has several frames.
    sop_class_uid, sop_instance_uid:
        Identifiers of the object (PS3.3 C.12.1); empty where they are missing, as all UIDs.
    study_instance_uid, series_instance_uid, frame_of_reference_uid:
        Identifiers of study, series and frame of reference (PS3.3 C.7.2.1, C.7.3.1, C.7.4.1).
    patient:
        Patient ID and Patient's Name.
    rows, columns:
        Size in pixels.
    image_position, image_orientation:
        Image Position and Image Orientation (Patient), LPS in mm (PS3.3 C.7.6.2.1.1).
    pixel_spacing:
        Pixel Spacing between rows and between columns, in mm (PS3.3 10.7.1.3).
    rescale:
        Rescale Slope and Intercept (PS3.3 C.11.1); None without intercept.
    pixel_padding:
        Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2).
    acquisition:
        Acquisition Number, or acquisition and phase of the frame (PS3.3 C.7.6.16.2.2).
    instance_number, series_number:
        Instance Number, plus the index of the frame; Series Number. 0 where they are missing.
    image_type:
        Image Type (PS3.3 C.8.2.1.1.1).
    slice_thickness:
        Slice Thickness in mm; None where it is missing.
    convolution_kernel, manufacturer, series_description:
        The attributes of these names; empty where they are missing.
    transfer_syntax:
        Name of the transfer syntax.
    lossy:
        Whether the pixels were compressed with losses.
    """

    path: Path
    index: int
    is_multiframe: bool
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frame_of_reference_uid: str
    patient: str
    rows: int
    columns: int
    image_position: tuple[float, float, float]
    image_orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    rescale: tuple[float, float] | None
    pixel_padding: tuple[int, int] | None
    acquisition: str
    instance_number: int
    series_number: int
    image_type: tuple[str, ...]
    slice_thickness: float | None
    convolution_kernel: str
    manufacturer: str
    series_description: str
    transfer_syntax: str
    lossy: bool


DecodeFrame = Callable[[Frame], AnyArray]
"""Returns the values (rows, columns) of a frame; raises ScanError."""


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not read as CT.

    Attributes
    ----------
    path:
        The file.
    reason:
        Why it is skipped.
    damaged:
        Whether it may be a damaged or unreachable slice.
    """

    path: Path
    reason: str
    damaged: bool = False


def read_frames(paths: Iterable[Path]) -> tuple[list[Frame], list[SkippedFile]]:
    """Read the headers of files, and return the CT frames and the files without CT frames."""
    frames: list[Frame] = []
    skipped: list[SkippedFile] = []
    for path in paths:
        result = read_frames_of_file(path)
        if isinstance(result, SkippedFile):
            skipped.append(result)
        else:
            frames.extend(result)
    return frames, skipped


def read_frames_of_file(path: Path) -> list[Frame] | SkippedFile:
    """Read the header of a file, and return its CT frames, or the reason why it has none."""
    try:
        with suppress_pydicom_log():
            if exceeds_inflation_limit(path):
                limit = readable_size(inflation_limit(path))
                return SkippedFile(path, f"it inflates to more than {limit}", True)
            return _extract_frames(path, read_dataset(path, stop_before_pixels=True))
    except InvalidDicomError:
        has_suffix = path.suffix.lower() in DICOM_SUFFIXES
        return SkippedFile(path, "not a DICOM file", damaged=has_suffix)
    # For damaged files pydicom raises many kinds of errors, from OSError to RecursionError.
    except Exception as error:  # noqa: BLE001
        return SkippedFile(path, f"its header cannot be read ({first_line(error)})", damaged=True)


def _extract_frames(path: Path, dataset: Dataset) -> list[Frame] | SkippedFile:
    defect = _check_object(dataset) or _check_image(dataset) or _check_frames(dataset)
    if defect:
        return SkippedFile(path, defect.reason, defect.damaged)
    planes = [_image_plane(dataset, index) for index in range(_number_of_frames(dataset))]
    frames = [
        _make_frame(path, dataset, i, plane) for i, plane in enumerate(planes) if plane is not None
    ]
    if len(frames) < len(planes):
        missing = "its Image Position, Image Orientation or Pixel Spacing is missing"
        return SkippedFile(path, missing, damaged=True)
    for keyword, name in (
        ("RescaleSlope", "Rescale Slope"),
        ("RescaleIntercept", "Rescale Intercept"),
    ):
        for index in range(len(frames)):
            value = find_attribute(dataset, index, "PixelValueTransformationSequence", keyword)
            if value not in (None, "") and to_floats(value, 1) is None:
                return SkippedFile(path, f"its {name} is not a valid number", damaged=True)
    if any(frame.rescale is not None and frame.rescale[0] == 0 for frame in frames):
        return SkippedFile(path, "its Rescale Slope is 0", damaged=True)
    return frames


class _Defect(NamedTuple):
    """Why a file is skipped, and whether it may be a damaged slice."""

    reason: str
    damaged: bool


def _check_object(dataset: Dataset) -> _Defect | None:
    """Return why an object is not a CT, by its SOP class and image type."""
    sop_class = str(dataset.get("SOPClassUID", ""))
    stored = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not sop_class and stored in CT_CLASSES:
        return _Defect("its header is truncated", damaged=True)
    if sop_class not in CT_CLASSES:
        name = "an object without an image"
        if sop_class or stored:
            name = pydicom.uid.UID(sop_class or stored).name
        modality = str(dataset.get("Modality", ""))
        return _Defect(f"not a CT image but {name}" + (f" ({modality})" if modality else ""), False)
    if "LOCALIZER" in to_strings(dataset.get("ImageType")):
        return _Defect("a localizer", damaged=False)
    return None


def _check_image(dataset: Dataset) -> _Defect | None:
    """Return why an image cannot be read as HU."""
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return _Defect("its Rows or Columns is missing or 0", damaged=True)
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        return _Defect("a colour image", damaged=False)
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        return _Defect(f"its header claims {dataset.Rows}x{dataset.Columns} pixels", damaged=True)
    stored, high = (int(dataset.get(name, 0) or 0) for name in ("BitsStored", "HighBit"))
    if stored and "HighBit" in dataset and high != stored - 1:
        return _Defect(
            f"its High Bit is {high} instead of {stored - 1} for {stored} bits", damaged=True
        )
    rescale_type = str(dataset.get("RescaleType", "") or "").strip()
    is_hounsfield = rescale_type.lower().startswith("houn")  # many spellings occur
    if not is_hounsfield and rescale_type.upper() not in ("", "HU", "HU_MOD", "US"):
        return _Defect(f"its values are in {rescale_type}, not in HU", damaged=False)
    return None


def _check_frames(dataset: Dataset) -> _Defect | None:
    """Return why the number of frames is impossible."""
    frames = _number_of_frames(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not 1 <= frames <= MAX_FRAMES or (groups is not None and len(groups) != frames):
        return _Defect(f"its header claims {frames} frames", damaged=True)
    if groups is None and frames > 1:
        return _Defect(f"its {frames} frames have no geometry", damaged=True)
    return None


def _number_of_frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames", 1) or 1)


class _ImagePlane(NamedTuple):
    """Attributes of the Image Plane module (PS3.3 C.7.6.2)."""

    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


def _image_plane(dataset: Dataset, index: int) -> _ImagePlane | None:
    """Return the plane of a frame; None if it is incomplete."""
    position = to_floats(
        find_attribute(dataset, index, "PlanePositionSequence", "ImagePositionPatient"), 3
    )
    orientation = to_floats(
        find_attribute(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient"), 6
    )
    spacing = to_floats(find_attribute(dataset, index, "PixelMeasuresSequence", "PixelSpacing"), 2)
    if position is None or orientation is None or spacing is None or min(spacing) <= 0:
        return None
    x, y, z = position
    return _ImagePlane((x, y, z), orientation, (spacing[0], spacing[1]))


def _make_frame(path: Path, dataset: Dataset, index: int, plane: _ImagePlane) -> Frame:
    def text(keyword: str) -> str:
        return str(dataset.get(keyword, "") or "")

    def group(sequence: str, keyword: str) -> Any:
        return find_attribute(dataset, index, sequence, keyword)

    slope = to_floats(group("PixelValueTransformationSequence", "RescaleSlope"), 1)
    intercept = to_floats(group("PixelValueTransformationSequence", "RescaleIntercept"), 1)
    thickness = to_floats(group("PixelMeasuresSequence", "SliceThickness"), 1)
    kernel = group("CTReconstructionSequence", "ConvolutionKernel")
    syntax = pydicom.uid.UID(str(dataset.file_meta.TransferSyntaxUID))
    return Frame(
        path=path,
        index=index,
        is_multiframe=_number_of_frames(dataset) > 1,
        sop_class_uid=text("SOPClassUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        sop_instance_uid=text("SOPInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        patient=f"{text('PatientID')}|{text('PatientName')}",
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        image_position=plane.position,
        image_orientation=plane.orientation,
        pixel_spacing=plane.spacing,
        rescale=None if intercept is None else ((slope or (1.0,))[0], intercept[0]),
        pixel_padding=_pixel_padding(dataset),
        acquisition=_acquisition(dataset, index),
        instance_number=to_int(dataset.get("InstanceNumber")) + index,
        series_number=to_int(dataset.get("SeriesNumber")),
        image_type=to_strings(dataset.get("ImageType")),
        slice_thickness=None if thickness is None else thickness[0],
        convolution_kernel="/".join(to_strings(kernel)),
        manufacturer=text("Manufacturer"),
        series_description=text("SeriesDescription"),
        transfer_syntax=syntax.name,
        lossy=text("LossyImageCompression") == "01" or syntax in _LOSSY,
    )


def _acquisition(dataset: Dataset, index: int) -> str:
    keywords = ("FrameAcquisitionNumber", "TemporalPositionIndex", "StackID")
    values = [find_attribute(dataset, index, "FrameContentSequence", key) for key in keywords]
    parts = values if values[0] else [dataset.get("AcquisitionNumber"), *values[1:]]
    return "/".join(str(part) for part in parts if part not in (None, ""))


def _pixel_padding(dataset: Dataset) -> tuple[int, int] | None:
    value = to_floats(dataset.get("PixelPaddingValue"), 1)
    limit = to_floats(dataset.get("PixelPaddingRangeLimit"), 1) or value
    return None if value is None or limit is None else (int(value[0]), int(limit[0]))
