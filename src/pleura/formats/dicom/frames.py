"""Headers of DICOM files: each becomes CT frames, or is set aside with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from pleura.errors import first_line
from pleura.files.limits import readable_size
from pleura.formats.dicom.dataset import read_dataset
from pleura.formats.dicom.deflate import exceeds_inflation_limit, inflation_limit
from pleura.formats.dicom.pydicom_log import suppress_pydicom_log

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
}
"""Storage classes of CT (DICOM PS3.4 B.5); only a secondary capture shows CT without being one."""

MAX_FRAMES = 1 << 14
MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class Frame:
    """One CT image of a file, by its header.

    ``image_position`` and ``image_orientation`` are Image Position and Orientation (Patient), LPS
    (PS3.3 C.7.6.2.1.1); ``pixel_spacing`` is Pixel Spacing, between rows and between columns, in
    mm. ``rescale`` is slope and intercept, None where the header has none. ``pixel_padding`` is
    Pixel Padding Value and Range Limit, as written.
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


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not read as CT, and why; ``damaged`` where it may have been a slice."""

    path: Path
    reason: str
    damaged: bool = False


def read_frames(paths: Iterable[Path]) -> tuple[list[Frame], list[SkippedFile]]:
    """Read the headers of files, CT or not."""
    frames: list[Frame] = []
    aside: list[SkippedFile] = []
    for path in paths:
        found = read_frames_of_file(path)
        if isinstance(found, SkippedFile):
            aside.append(found)
        else:
            frames.extend(found)
    return frames, aside


def read_frames_of_file(path: Path) -> list[Frame] | SkippedFile:
    """Read one file's header: its CT frames, or why it has none."""
    try:
        with suppress_pydicom_log():
            if exceeds_inflation_limit(path):
                most = readable_size(inflation_limit(path))
                return SkippedFile(path, f"deflated, it unpacks to more than {most}", True)
            return _classify(path, read_dataset(path, stop_before_pixels=True))
    except InvalidDicomError:
        named = path.suffix.lower() in (".dcm", ".ima")
        return SkippedFile(path, "no DICOM file", damaged=named)
    # A damaged file makes pydicom raise anything from OSError to RecursionError.
    except Exception as error:  # noqa: BLE001
        return SkippedFile(path, f"its header cannot be read ({first_line(error)})", damaged=True)


def _classify(path: Path, dataset: Dataset) -> list[Frame] | SkippedFile:
    refusal = _no_ct(dataset) or _no_image(dataset) or _no_frames(dataset)
    reason, damaged = refusal or ("", False)
    if reason:
        return SkippedFile(path, reason, damaged)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    places = [_place(dataset, index) for index in range(frames)]
    if not all(places):
        lacks = "it lacks Image Position, Image Orientation or Pixel Spacing"
        return SkippedFile(path, f"no geometry: {lacks}", damaged=True)
    found = [_frame(path, dataset, i, *place) for i, place in enumerate(places) if place]
    for name in ("RescaleSlope", "RescaleIntercept"):
        for index in range(frames):
            value = _find(dataset, index, "PixelValueTransformationSequence", name)
            if value not in (None, "") and _numbers(value, 1) is None:
                words = name.replace("Rescale", "Rescale ")
                return SkippedFile(path, f"its {words} is not a valid number", damaged=True)
    if any(frame.rescale is not None and frame.rescale[0] == 0 for frame in found):
        return SkippedFile(path, "its Rescale Slope is 0", damaged=True)
    return found


Refusal = tuple[str, bool]
"""Why a file is set aside, and whether it may be a damaged slice."""


def _no_ct(dataset: Dataset) -> Refusal | None:
    kind = str(dataset.get("SOPClassUID", ""))
    stored = str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not kind and stored in CT_CLASSES:
        return "its header is cut off", True
    if kind not in CT_CLASSES:
        name = pydicom.uid.UID(kind or stored).name if kind or stored else "no image"
        modality = str(dataset.get("Modality", ""))
        return f"no CT image but {name}" + (f" ({modality})" if modality else ""), False
    if "LOCALIZER" in _words(dataset.get("ImageType")):
        return "a localizer", False
    return None


def _no_image(dataset: Dataset) -> Refusal | None:
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return "its header holds no Rows and Columns", True
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        return "a colour image", False
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        return f"its header claims {dataset.Rows}x{dataset.Columns} pixels", True
    stored, high = (int(dataset.get(name, 0) or 0) for name in ("BitsStored", "HighBit"))
    if stored and "HighBit" in dataset and high != stored - 1:
        return f"its {stored} bits end at bit {high}, not {stored - 1}", True
    kind = str(dataset.get("RescaleType", "") or "").strip()
    spelled_out = kind.lower().startswith("houn")  # "Hounsfield Unit", in several spellings
    if not spelled_out and kind.upper() not in ("", "HU", "HU_MOD", "US"):
        return f"values in {kind}, not HU", False
    return None


def _no_frames(dataset: Dataset) -> Refusal | None:
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not 1 <= frames <= MAX_FRAMES or (groups is not None and len(groups) != frames):
        return f"its header claims {frames} frames", True
    if groups is None and frames > 1:
        return f"{frames} frames without a geometry of their own", True
    return None


FramePlacement = tuple[tuple[float, float, float], tuple[float, ...], tuple[float, float]]


def _place(dataset: Dataset, index: int) -> FramePlacement | None:
    position = _numbers(_find(dataset, index, "PlanePositionSequence", "ImagePositionPatient"), 3)
    orientation = _numbers(
        _find(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient"), 6
    )
    spacing = _numbers(_find(dataset, index, "PixelMeasuresSequence", "PixelSpacing"), 2)
    if position is None or orientation is None or spacing is None or min(spacing) <= 0:
        return None
    return (position[0], position[1], position[2]), orientation, (spacing[0], spacing[1])


def _frame(path: Path, dataset: Dataset, index: int, *place: Any) -> Frame:
    def text(name: str) -> str:
        return str(dataset.get(name, "") or "")

    def group(sequence: str, name: str) -> Any:
        return _find(dataset, index, sequence, name)

    slope = _numbers(group("PixelValueTransformationSequence", "RescaleSlope"), 1)
    intercept = _numbers(group("PixelValueTransformationSequence", "RescaleIntercept"), 1)
    thickness = _numbers(group("PixelMeasuresSequence", "SliceThickness"), 1)
    kernel = group("CTReconstructionSequence", "ConvolutionKernel")
    syntax = pydicom.uid.UID(str(dataset.file_meta.TransferSyntaxUID))
    position, orientation, spacing = place
    return Frame(
        path=path,
        index=index,
        is_multiframe=int(dataset.get("NumberOfFrames", 1) or 1) > 1,
        sop_class_uid=text("SOPClassUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        sop_instance_uid=text("SOPInstanceUID"),
        frame_of_reference_uid=text("FrameOfReferenceUID"),
        patient=f"{text('PatientID')}|{text('PatientName')}",
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        image_position=position,
        image_orientation=orientation,
        pixel_spacing=spacing,
        rescale=None if intercept is None else ((slope or (1.0,))[0], intercept[0]),
        pixel_padding=_padding(dataset),
        acquisition=_acquisition(dataset, index),
        instance_number=_whole(dataset.get("InstanceNumber")) + index,
        series_number=_whole(dataset.get("SeriesNumber")),
        image_type=_words(dataset.get("ImageType")),
        slice_thickness=None if thickness is None else thickness[0],
        convolution_kernel="/".join(_words(kernel)),
        manufacturer=text("Manufacturer"),
        series_description=text("SeriesDescription"),
        transfer_syntax=syntax.name,
        lossy=text("LossyImageCompression") == "01" or syntax in _LOSSY,
    )


_LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81)}


def _acquisition(dataset: Dataset, index: int) -> str:
    """Return what tells a frame's acquisition and phase (PS3.3 C.7.6.16.2.2), or a slice's."""
    names = ("FrameAcquisitionNumber", "TemporalPositionIndex", "StackID")
    own = [_find(dataset, index, "FrameContentSequence", name) for name in names]
    parts = own if own[0] else [dataset.get("AcquisitionNumber"), *own[1:]]
    return "/".join(str(part) for part in parts if part not in (None, ""))


_PER_FRAME, _SHARED = Tag(0x5200, 0x9230), Tag(0x5200, 0x9229)


def _find(dataset: Dataset, index: int, sequence: str, name: str) -> Any:
    """Return an attribute of a frame: from its own functional groups, the shared ones, the top."""
    if _PER_FRAME not in dataset and _SHARED not in dataset:  # most files: keywords are slow
        return dataset.get(name)
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[index : index + 1], *shared[:1]):
        items = groups.get(sequence) or []
        if items and name in items[0]:
            return items[0].get(name)
    return dataset.get(name)


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value = _numbers(dataset.get("PixelPaddingValue"), 1)
    limit = _numbers(dataset.get("PixelPaddingRangeLimit"), 1) or value
    return None if value is None or limit is None else (int(value[0]), int(limit[0]))


def _numbers(value: Any, n: int) -> tuple[float, ...] | None:
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return None
    finite = all(abs(v) < 1e9 for v in found)  # false for NaN too
    return found if len(found) == n and finite else None


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    values: Sequence[Any] = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple(str(v).strip() for v in values)


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
