import contextlib
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicom_files import write_series

from pleura.errors import PleuraError, ScanError
from pleura.formats.dicom import deflate
from pleura.formats.dicom.frames import read_frames
from pleura.formats.dicom.rescale import rescale_to_hu
from pleura.formats.find import find_scans
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((-90, -120, 31), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))


def chest(slices=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 300, (slices, 20, 24), np.int16)


def warned(scan):
    return [decision.topic for decision in scan.warnings]


def change(path, **elements):
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def test_slices_are_sorted_by_position_and_not_by_name_or_number(tmp_path):
    names = ["f", "a", "e", "b", "d", "c"]
    paths = write_series(tmp_path, chest(), AXIAL, names=names)
    for number, path in enumerate(reversed(paths)):
        change(path, InstanceNumber=number)
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest())
    assert np.array_equal(scan.hu(2, 4), chest()[2:4])
    assert not scan.warnings


def test_missing_slice_leaves_a_gap_that_reads_as_air_and_is_said(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    paths[2].unlink()
    scan = read(tmp_path, units="hu")
    assert scan.geometry.shape[0] == 6
    assert scan.missing_slices == {2}
    assert (scan.hu(2, 3) == -1024).all()
    assert np.array_equal(scan.hu(3), chest()[3:])
    assert warned(scan) == ["slices"]


def test_uneven_steps_are_refused_with_the_steps(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    change(paths[3], ImagePositionPatient=[-90, -120, 31 + 3 * 2.5 + 0.9])
    with pytest.raises(ScanError, match=r"unevenly spaced: 1\.6, 2\.5, 3\.4 mm"):
        read(tmp_path)


def test_exact_duplicate_is_left_out_and_said(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    shutil.copy(paths[3], tmp_path / "again.dcm")
    change(tmp_path / "again.dcm", SOPInstanceUID="1.2.3", InstanceNumber=99)
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest())
    assert any("duplicates" in decision.reason for decision in scan.decisions)


def test_two_acquisitions_at_one_place_are_kept_apart(tmp_path):
    write_series(tmp_path / "a", chest(), AXIAL, AcquisitionNumber=1)
    write_series(tmp_path / "b", chest(seed=1), AXIAL, AcquisitionNumber=2)
    found = find_scans(tmp_path)
    assert len(found) == 2
    assert {one.load("hu").hu().tobytes() for one in found} == {
        chest(seed=seed).tobytes() for seed in (0, 1)
    }
    assert [one.chosen for one in found].count(True) == 1


def test_different_slices_at_one_place_are_refused(tmp_path):
    write_series(tmp_path / "a", chest(), AXIAL)
    write_series(tmp_path / "b", chest(seed=1), AXIAL)
    with pytest.raises(ScanError, match="12 slices of one acquisition have only 6 positions"):
        read(tmp_path)


def test_kernels_are_never_interleaved_and_the_choice_is_said(tmp_path):
    write_series(tmp_path / "soft", chest(), AXIAL, series="soft", SeriesNumber=3)
    shifted = AXIAL.copy()
    shifted[2, 3] += 1.25
    write_series(tmp_path / "sharp", chest(seed=1), shifted, series="sharp", SeriesNumber=4)
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest())
    assert warned(scan) == ["series"]
    assert np.array_equal(read(tmp_path, series="4", units="hu").hu(), chest(seed=1))
    with pytest.raises(ScanError, match="no series 9"):
        read(tmp_path, series="9")


@pytest.mark.parametrize("degrees", [-18.5, 14])
def test_tilted_gantry_is_told_from_positions_and_no_slice_is_moved(tmp_path, degrees):
    lean = 2.5 * np.tan(np.radians(degrees))
    tilted = affine_from_axes((0, 0, 0), ((0, lean, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
    write_series(tmp_path, chest(), tilted, GantryDetectorTilt="-3")
    scan = read(tmp_path, units="hu")
    assert scan.geometry.gantry_tilt == pytest.approx(abs(degrees), abs=1e-3)
    assert np.allclose(scan.geometry.affine, tilted)
    assert any(decision.topic == "grid" for decision in scan.decisions)


def test_two_patients_in_one_folder_are_refused_but_found_in_a_cohort(tmp_path):
    write_series(tmp_path / "one", chest(), AXIAL)
    other = {"PatientID": "Somebody", "StudyInstanceUID": "1.2.4", "series": "2"}
    write_series(tmp_path / "two", chest(seed=1), AXIAL, **other)
    with pytest.raises(ScanError, match="2 patients"):
        read(tmp_path)
    assert [one.name for one in find_scans(tmp_path)] == ["one", "two"]


def test_names_of_results_never_hold_the_patients_name(tmp_path):
    folder = tmp_path / "Meyer^Anna 4711" / "ct"
    write_series(folder, chest(), AXIAL, PatientName="Meyer^Anna", PatientID="4711")
    (found,) = find_scans(tmp_path)
    assert "meyer" not in found.name.lower()
    assert "anna" not in found.name.lower()
    assert "4711" not in found.name
    assert found.name.endswith("/ct")
    assert repr(found).startswith(f"ScanEntry({found.name}; series 1; ")
    assert "Meyer" not in repr(found)
    assert len(repr(found)) < 200
    plain = tmp_path / "Doe_John" / "ct"
    write_series(plain, chest(seed=2), AXIAL, PatientName="Doe John", StudyInstanceUID="1.2.7")
    assert not any("doe" in one.name.lower() for one in find_scans(tmp_path))


def test_truncated_slice_is_an_error_and_never_dropped(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    with pytest.raises(ScanError, match="truncated"):
        read(tmp_path, units="hu").hu()


def test_slice_cut_off_in_its_header_is_a_warning(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    content = paths[-1].read_bytes()
    paths[-1].write_bytes(content[: len(content) // 2 - 700])
    scan = read(tmp_path, units="hu")
    assert "files" in warned(scan) or "slices" in warned(scan)


def test_other_objects_are_set_aside_with_their_kind(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    shutil.copy(paths[0], tmp_path / "scout")
    change(tmp_path / "scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    shutil.copy(paths[0], tmp_path / "dose")
    change(tmp_path / "dose", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    (tmp_path / "notes.txt").write_text("seen by Dr. X")
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest())
    said = " ".join(decision.reason for decision in scan.decisions)
    for word in ("localizer", "Secondary Capture", "not a DICOM file"):
        assert word in said


@pytest.mark.parametrize(
    "missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
def test_slice_without_geometry_is_refused(tmp_path, missing):
    (path,) = write_series(tmp_path, chest(1), AXIAL)
    change(path, **{missing: None})
    with pytest.raises(ScanError, match="its Image Position"):
        read(path)


def test_missing_rescale_is_a_warning(tmp_path):
    paths = write_series(tmp_path, chest(), AXIAL)
    for path in paths:
        change(path, RescaleIntercept=None, RescaleSlope=None)
    scan = read(tmp_path, units="offset")
    assert np.array_equal(scan.hu(), chest())
    assert "units" in warned(scan)


def test_folder_without_ct_says_what_is_there(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(ScanError, match="no CT found: not a DICOM file"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PleuraError, match="no file"):
        read(tmp_path / "empty")


def test_stripped_uids_do_not_merge_patients_or_drop_slices(tmp_path):
    nothing = {"SeriesInstanceUID": "", "StudyInstanceUID": "", "SOPInstanceUID": ""}
    nothing["FrameOfReferenceUID"] = ""
    write_series(tmp_path / "p", chest(), AXIAL, PatientID="P", **nothing)
    write_series(tmp_path / "q", chest(seed=1), AXIAL, PatientID="Q", **nothing)
    found = find_scans(tmp_path)
    assert [one.name for one in found] == ["p", "q"]
    assert [one.load("hu").geometry.shape[0] for one in found] == [6, 6]


def test_series_that_cannot_be_read_is_said_beside_the_one_that_is(tmp_path):
    paths = write_series(tmp_path / "long", chest(20), AXIAL, series="1")
    change(paths[9], ImagePositionPatient=[-90, -120, 31 + 9 * 2.5 + 0.9])
    write_series(tmp_path / "short", chest(3), AXIAL, series="2", SeriesNumber=2)
    scan = read(tmp_path, units="hu")
    assert scan.geometry.shape[0] == 3
    assert "series" in warned(scan)


def test_dicom_is_read_and_not_the_mask_beside_it(tmp_path):
    write_series(tmp_path, chest(), AXIAL)
    (tmp_path / "lungs.nii.gz").write_bytes(b"whatever")
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest())
    assert warned(scan) == ["files"]


def test_interleaved_acquisitions_are_two_volumes_and_consecutive_ones_are_one(tmp_path):
    between = AXIAL.copy()
    between[2, 3] += 1.25
    write_series(tmp_path / "a" / "1", chest(), AXIAL, AcquisitionNumber=1)
    write_series(tmp_path / "a" / "2", chest(seed=1), between, AcquisitionNumber=2)
    assert len(find_scans(tmp_path / "a")) == 2
    after = AXIAL.copy()
    after[2, 3] += 6 * 2.5
    write_series(tmp_path / "b" / "1", chest(), AXIAL, AcquisitionNumber=1)
    write_series(tmp_path / "b" / "2", chest(seed=1), after, AcquisitionNumber=2)
    assert read(tmp_path / "b", units="hu").geometry.shape[0] == 12


def test_grid_is_never_filled_up_with_air_that_nobody_scanned(tmp_path):
    sparse = affine_from_axes((0, 0, 0), ((0, 0, 10), (0, 0.7, 0), (0.7, 0, 0)))
    paths = write_series(tmp_path, chest(12), sparse)
    shutil.copy(paths[5], tmp_path / "extra.dcm")
    change(tmp_path / "extra.dcm", ImagePositionPatient=[0, 0, 51], SOPInstanceUID="1.2.9")
    with pytest.raises(ScanError, match="unevenly spaced"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["Z_EFF", "MGML"])
def test_values_that_are_no_hu_by_their_own_word_are_set_aside(tmp_path, kind):
    write_series(tmp_path, chest(), AXIAL, RescaleType=kind)
    with pytest.raises(ScanError, match=f"values are in {kind}"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["Hounsfield Units", "Houndsfield Unit", "hu", "US"])
def test_hu_is_recognised_in_the_spellings_of_makers(tmp_path, kind):
    write_series(tmp_path, chest(), AXIAL, RescaleType=kind)
    assert np.array_equal(read(tmp_path, units="hu").hu(), chest())


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"HighBit": 14}, "its High Bit is 14 instead of 15"),
        ({"RescaleSlope": "0"}, "Rescale Slope is 0"),
    ],
)
def test_header_that_makes_no_sense_is_refused(tmp_path, elements, reason):
    write_series(tmp_path, chest(), AXIAL, **elements)
    with pytest.raises(ScanError, match=reason):
        read(tmp_path)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", "<u4", "<i4"])
@pytest.mark.parametrize("intercept", [0, -1024, 32767, -32768, 32768, -40000, 40000, -65535])
def test_integers_are_rescaled_without_overflow(dtype, intercept, tmp_path):
    write_series(tmp_path, chest(1), AXIAL)
    (frame,), _ = read_frames(tmp_path.iterdir())
    frame = replace(frame, rescale=(1.0, float(intercept)))
    bounds = np.iinfo(dtype)
    for ends in ((bounds.min, bounds.max), (bounds.max - 1, bounds.max), (bounds.min, 0), (3, 9)):
        stored = np.array([ends], dtype)
        expected = stored.astype(np.int64) + intercept
        if np.abs(expected).max() < 1 << 31:
            assert np.array_equal(rescale_to_hu(stored, frame), expected)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"nan", b"inf", b"abc", b"1\\2", b"1e400"])
def test_rescale_that_is_no_number_is_refused(tmp_path, name, value):
    for path in write_series(tmp_path, chest(), AXIAL):
        dataset = pydicom.dcmread(path)
        tag = pydicom.tag.Tag(name)
        dataset[tag] = pydicom.dataelem.RawDataElement(tag, "DS", len(value), value, 0, False, True)
        dataset.save_as(path)
    with pytest.raises(ScanError, match="is not a valid number"):
        read(tmp_path)


def test_deflated_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    path = write_series(tmp_path, chest(1), AXIAL)[0]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert np.array_equal(read(path, units="hu").hu(), chest(1))
    monkeypatch.setattr(deflate, "MIN_LIMIT", 1000)
    monkeypatch.setattr(deflate, "MAX_RATIO", 1)
    with pytest.raises(ScanError, match="inflates to more"):
        read(path)


def test_few_slices_far_apart_do_not_outrank_a_chest(tmp_path):
    write_series(tmp_path / "chest", chest(), AXIAL, series="chest", SeriesNumber=2)
    apart = AXIAL.copy()
    apart[:3, 0] *= 100
    write_series(tmp_path / "two", chest(2, seed=1), apart, series="two", SeriesNumber=1)
    assert np.array_equal(read(tmp_path, units="hu").hu(), chest())


@pytest.fixture(scope="session")
def cases(data):
    folder = data / "dicom_cases"
    if not folder.is_dir():
        pytest.skip(f"needs the DICOM cases in {folder}")
    return folder


def hu_of(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path, units="hu").values()


@pytest.mark.parametrize("folder", ["syntax_ladder_CTImage", "syntax_wg04_CT1"])
def test_one_slice_is_equal_from_every_lossless_transfer_syntax(cases, folder):
    reference = {"syntax_ladder_CTImage": "LittleEndianExplicit", "syntax_wg04_CT1": "CT1_UNC"}
    paths = sorted((cases / folder).iterdir())
    (first,) = (p for p in paths if reference[folder] in p.name and "1.99" not in p.name)
    expected = hu_of(first)
    lossy = ("4.50_", "4.51_", "4.53_", "4.55_", "4.81_", "4.91_", "JLSN", "J2KI", "CT2_")
    for path in paths:
        if any(word in path.name for word in lossy):
            assert any(d.topic == "pixels" for d in read(path, units="hu").decisions) or (
                "CT2_" in path.name
            )
            assert np.median(np.abs(hu_of(path) - expected)) < 60 or "CT2_" in path.name
        else:
            assert np.array_equal(hu_of(path), expected), path.name


def test_multi_frame_equals_its_classic_slices(cases):
    folder = cases / "enhanced_legacy_23x38x3"
    many = read(folder / "legacy_converted_enhanced_ct.dcm", units="hu")
    classic = read(folder / "classic", units="hu")
    assert many.geometry.shape == (3, 38, 23)
    assert many.geometry.is_close(classic.geometry)
    assert np.array_equal(many.hu(), classic.hu())


def test_shifted_pixels_of_a_converted_file_are_noticed(cases):
    folder = cases / "enhanced_multiframe"
    shifted = read(folder / "CT0012_JPEGext51_fragmented.dcm")
    assert "units" in warned(shifted)
    right = read(folder / "CT0012_EVRLE.dcm")
    assert np.median(np.abs(shifted.hu().astype(int) - right.hu())) < 10


@pytest.mark.parametrize(
    "name", ["TOSHIBA_J2K_SIZ1_PixRep0.dcm", "JPEGLossless_1s_1f_i_16_16_bad.dcm"]
)
def test_absurd_values_are_refused(cases, name):
    with pytest.raises(ScanError, match="values are not in HU"):
        read(cases / "odd_single" / name)


def test_every_file_of_the_cases_is_read_or_refused_with_a_reason(cases):
    paths = sorted(p for p in cases.rglob("*") if p.is_file())
    read_well = set()
    for path in paths:
        with contextlib.suppress(PleuraError):
            assert read(path).hu().dtype == np.int16
            read_well.add(path.relative_to(cases).as_posix())
    for folder in ("chest_series_A0002_B40f", "syntax_ladder_CTImage", "syntax_wg04_CT1"):
        names = {p.relative_to(cases).as_posix() for p in paths if p.parent.name == folder}
        assert {name for name in names if name.endswith(".dcm")} <= read_well
    assert not {name for name in read_well if name.startswith(("localizer", "non_ct", "second"))}
