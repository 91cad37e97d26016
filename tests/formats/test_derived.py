"""What SEG and RT Structure Set take from a series: valid objects, or a refusal beforehand."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicom_files import dciodvfy_errors, with_raw_values, write_series

from pleura.errors import MaskWarning, PleuraError, ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.formats.write import check_can_write, write_labels
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((-9, -8, 30), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
TILTED = affine_from_axes((-9, -8, 30), ((0, 0.6, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
SHAPE = (4, 20, 24)
pytestmark = pytest.mark.filterwarnings("ignore:(Invalid value|The value length):UserWarning")
KINDS = ["m.dcm", "m.rtstruct.dcm"]
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def lungs(scan, **options):
    """Both lungs, the right one with a hole."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 3:15, 2:10] = 1
    labels[1:3, 7:9, 5:7] = 0
    labels[1:4, 5:12, 14:20] = 2
    return Mask(labels, scan, algorithm=("pleura, small", "1"), **options)


def with_volume(scan, volume):
    return replace(scan, origin=replace(scan.origin, volume=volume))


def scan_with(folder, affine=AXIAL, raw=None, **elements):
    """Write a series with some elements in all of its files, and read it."""
    paths = write_series(folder / "series", np.zeros(SHAPE, np.int16), affine, **elements)
    with_raw_values(paths, **(raw or {}))
    return read(folder / "series", units="hu")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"affine": TILTED},
        {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": JAPANESE},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
        {"PatientName": "LIDC-IDRI-0001"},
        {"SeriesNumber": 2147483000},
        {"SeriesNumber": -2147483000},
        {"raw": {"StudyTime": "12:34:56", "PatientSex": "male"}},
        {"raw": {"PatientBirthDate": "19500000", "StudyTime": "250000"}},
        {"raw": {"StudyTime": "235960", "ReferringPhysicianName": ["A^B", "C^D"]}},
        {"raw": {"StudyDate": "20230231", "AccessionNumber": "A" * 17, "PatientID": "A\\B"}},
        {"raw": {"PatientName": None, "PatientID": None, "StudyDate": None, "StudyID": None}},
        {"PatientIdentityRemoved": "YES", "StudyDescription": "Thorax"},
        {"LossyImageCompression": "01"},
        {"SliceThickness": "0"},
    ],
)
def test_objects_of_odd_headers_are_valid_and_keep_the_name(tmp_path, kind, elements):
    scan = scan_with(tmp_path, **elements)
    write_labels(tmp_path / kind, lungs(scan))
    written = pydicom.dcmread(tmp_path / kind)
    name = elements.get(
        "PatientName", "" if "PatientName" in elements.get("raw", {}) else "Nobody^"
    )
    assert str(written.PatientName) == name
    assert dciodvfy_errors(tmp_path / kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_number_that_is_no_number_is_left_behind(tmp_path, kind):
    scan = scan_with(tmp_path, SeriesNumber=77)
    for path in (tmp_path / "series").iterdir():
        content = path.read_bytes()
        assert b"\x20\x00\x11\x00IS\x02\x0077" in content
        path.write_bytes(content.replace(b"\x11\x00IS\x02\x0077", b"\x11\x00IS\x02\x00A1"))
    scan = read(tmp_path / "series", units="hu")
    write_labels(tmp_path / kind, lungs(scan))
    assert pydicom.dcmread(tmp_path / kind).SeriesNumber == 1000


def test_the_attributes_that_are_left_empty_are_named(tmp_path):
    bad = {"StudyTime": "12:34:56", "PatientBirthDate": "1950", "PatientSex": "male"}
    mask = lungs(scan_with(tmp_path, raw=bad))
    (decision,) = check_can_write(tmp_path / "m.dcm", mask.scan)
    assert decision.warning
    assert "Patient's Birth Date, Patient's Sex, Study Time" in decision.choice
    assert "1950" not in str(decision)
    with pytest.warns(MaskWarning, match="Study Time"):
        mask.write(tmp_path / "m.dcm")
    assert pydicom.dcmread(tmp_path / "m.dcm").StudyTime == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"FrameOfReferenceUID": None}, "no Frame of Reference UID (0020,0052)"),
        ({"SOPInstanceUID": None}, "no SOP Instance UID (0008,0018)"),
        ({"StudyInstanceUID": None}, "no Study Instance UID (0020,000d)"),
        ({"SeriesInstanceUID": "1.02.x"}, "an invalid Series Instance UID (0020,000e)"),
        ({"SOPInstanceUID": "1.2.3"}, "do not each have their own SOP Instance UID"),
    ],
)
def test_slices_that_nothing_can_refer_to_are_refused_by_name(tmp_path, kind, raw, named):
    scan = scan_with(tmp_path, raw=raw)
    with pytest.raises(ScanError) as refused:
        check_can_write(tmp_path / kind, scan)
    assert named in refused.value.message
    with pytest.raises(ScanError):
        write_labels(tmp_path / kind, lungs(scan))
    assert not (tmp_path / kind).exists()


def test_slices_of_several_series_or_frames_of_reference_are_refused(tmp_path):
    scan = scan_with(tmp_path)
    first, *others = scan.origin.frames
    for field, named in (
        ("series_instance_uid", "Series Instance"),
        ("frame_of_reference_uid", "Frame of Ref"),
    ):
        volume = replace(scan.origin.volume, frames=(replace(first, **{field: "1.2.3"}), *others))
        with pytest.raises(ScanError, match=f"2 different values of {named}"):
            check_can_write(tmp_path / "m.dcm", with_volume(scan, volume))
        volume = replace(scan.origin.volume, frames=(replace(first, **{field: ""}), *others))
        with pytest.raises(ScanError, match=f"do not all have a {named}"):
            check_can_write(tmp_path / "m.dcm", with_volume(scan, volume))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_another_tool_and_of_odd_models_becomes_a_valid_object(tmp_path, kind):
    scan = scan_with(tmp_path)
    write_labels(tmp_path / "m.nii.gz", lungs(scan))
    found = read_mask(tmp_path / "m.nii.gz", scan)
    write_labels(tmp_path / kind, found)
    assert dciodvfy_errors(tmp_path / kind) == []
    if kind == "m.dcm":
        (segment, _) = pydicom.dcmread(tmp_path / kind).SegmentSequence
        assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "unknown"
    write_labels(tmp_path / kind, replace(found, algorithm=("modèle\\" + 70 * "x", "")))
    assert dciodvfy_errors(tmp_path / kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_lung_alone_is_a_valid_object(tmp_path, kind):
    mask = lungs(scan_with(tmp_path))
    left = replace(mask, labels=np.where(mask.labels == 2, 2, 0).astype(np.uint8))
    write_labels(tmp_path / kind, left)
    assert dciodvfy_errors(tmp_path / kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_multi_frame_files_are_referred_to_by_number(tmp_path, kind):
    """Two files of two frames each, of which one frame lies elsewhere."""
    scan = scan_with(tmp_path)
    a, b = "1.2.3.4", "1.2.3.5"
    enhanced = "1.2.840.10008.5.1.4.1.1.2.1"
    places = ((a, 1), (a, 0), (b, 0), (b, 2))
    frames = tuple(
        replace(
            frame,
            sop_instance_uid=instance,
            index=index,
            is_multiframe=True,
            sop_class_uid=enhanced,
        )
        for frame, (instance, index) in zip(scan.origin.frames, places, strict=True)
    )
    mask = lungs(with_volume(scan, replace(scan.origin.volume, frames=frames)))
    write_labels(tmp_path / kind, mask)
    assert dciodvfy_errors(tmp_path / kind) == []
    written = pydicom.dcmread(tmp_path / kind)
    if kind == "m.dcm":
        images = [
            group.DerivationImageSequence[0].SourceImageSequence[0]
            for group in written.PerFrameFunctionalGroupsSequence
        ]
        listed = written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        assert [item.ReferencedSOPInstanceUID for item in listed] == [a, b]
    else:
        images = [
            contour.ContourImageSequence[0]
            for roi in written.ROIContourSequence
            for contour in roi.ContourSequence
        ]
    found = {(one.ReferencedSOPInstanceUID, one.ReferencedFrameNumber) for one in images}
    assert found == {(a, 1), (b, 1), (b, 3)}
    assert {one.ReferencedSOPClassUID for one in images} == {enhanced}


def test_dicom_files_that_are_gone_are_an_error_with_a_name(tmp_path):
    scan = scan_with(tmp_path)
    for path in (tmp_path / "series").iterdir():
        path.unlink()
    with pytest.raises(ScanError, match="cannot be read again"):
        write_labels(tmp_path / "m.dcm", lungs(scan))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_that_is_not_dicom_is_refused(tmp_path, kind):
    scan = from_array(np.zeros(SHAPE, np.int16), units="hu")
    with pytest.raises(ScanError, match="refers to DICOM slices"):
        check_can_write(tmp_path / kind, scan)


def test_objects_of_public_series_are_valid_or_refused_by_name(data, tmp_path):
    folders = sorted({path.parent for path in (data / "dicom_cases").rglob("*.dcm")})
    if not folders:
        pytest.skip("needs the collection of DICOM cases")
    for folder in folders:
        with suppress(PleuraError):  # folders that are not one series
            scan = read(folder, units="hu")
            for kind in KINDS:
                written = write_or_refuse(tmp_path / kind, scan)
                assert not written or dciodvfy_errors(tmp_path / kind) == [], folder


def write_or_refuse(path, scan):
    """Write two boxes as lungs; return False where a UID that is named prevents it."""
    labels = np.zeros(scan.geometry.shape, np.uint8)
    labels[:, 2:-2, 2:9], labels[:, 2:-2, -9:-2] = 1, 2
    try:
        write_labels(path, Mask(labels, scan))
    except ScanError as error:
        assert "UID (00" in error.message  # noqa: PT017
        return False
    return True
