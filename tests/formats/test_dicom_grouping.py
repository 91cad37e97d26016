"""Header fields that separate slices of one volume, and volumes that must stay separate."""

import numpy as np
import pydicom
import pytest
from dicom_files import uid, write_series

import pleura
from pleura.errors import ScanError
from pleura.formats.dicom import continuity
from pleura.formats.find import find_scans
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

STEP = 6.0
AXIAL = affine_from_axes((-90, -120, 31), ((0, 0, STEP), (0, 7.8, 0), (7.8, 0, 0)))
N = 20


@pytest.fixture(scope="session")
def chest(sample):
    """20 neighbouring slices of a real chest, int16 HU (slices, 64, 64)."""
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz", units="hu")
    return scan.geometry.to_canonical().apply(scan.hu())[20 : 20 + N, ::2, ::2]


def change(path, **elements):
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def written(folder, hu, quirk, affine=AXIAL, **elements):
    """Write a series, and change the elements that ``quirk`` returns for a slice."""
    for i, path in enumerate(write_series(folder, hu, affine, **elements)):
        change(path, **quirk(i))


def only_scan(folder):
    """Read a folder alone and as a cohort; both must give one scan, which is returned."""
    (found,) = find_scans(folder)
    in_cohort, alone = found.load("hu"), read(folder, units="hu")
    assert np.array_equal(in_cohort.hu(), alone.hu())
    assert in_cohort.decisions == alone.decisions
    return alone


def jitter(degrees):
    angle = np.radians(degrees)
    return [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]


ALTERNATE = np.arange(N) % 2
SILENT = {
    "spacing in the 5th decimal": lambda i: {"PixelSpacing": [7.81249 + 2e-5 * (i % 2)] * 2},
    "spacing at a rounding edge": lambda i: {"PixelSpacing": [7.8125 + 4e-4 * (i % 3)] * 2},
    "spacing that drifts": lambda i: {"PixelSpacing": [7.8 + 1e-3 * i] * 2},
    "orientation around an edge": lambda i: {"ImageOrientationPatient": jitter(1.2 * (i % 3) / 2)},
    "thickness of each file": lambda i: {"SliceThickness": 5 + 0.1 * (i % 4)},
    "no thickness in some": lambda i: {"SliceThickness": None if i % 3 else 6},
    "acquisition of each file": lambda i: {"AcquisitionNumber": i},
    "acquisition missing in some": lambda i: {"AcquisitionNumber": 1} if i % 3 else {},
    "acquisition missing in a few": lambda i: {"AcquisitionNumber": 1} if i % 7 else {},
    "acquisition missing at an end": lambda i: {"AcquisitionNumber": 1} if i < 17 else {},
    "carets after the name": lambda i: {"PatientName": "Doe^John" + "^" * (i % 4) + " " * (i % 2)},
    "carets without Patient ID": lambda i: {"PatientID": "", "PatientName": "Doe^John" + "^" * i},
    "case of the name": lambda i: {"PatientName": ["Doe^John", "DOE^JOHN"][i % 2]},
    "name in two scripts": lambda i: {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": ["Doe^John", "Doe^John=\u738b"][i % 2],
    },
    "no name in some": lambda i: {"PatientName": "Doe^John" if i % 3 else ""},
    "no Patient ID in some": lambda i: {"PatientID": "4711" if i % 3 else ""},
    "description of each file": lambda i: {"SeriesDescription": f"slice {i}"},
    "instance numbers of each kind": lambda i: {"InstanceNumber": [None, 7][i % 2]},
    "one instance for all": lambda i: {"SOPInstanceUID": uid("one")},
    "kernel in the second half": lambda i: {"ConvolutionKernel": "B30f" if i < 10 else "B31f"},
}


@pytest.mark.parametrize("quirk", SILENT.values(), ids=SILENT.keys())
def test_differences_without_meaning_do_not_split_a_series(tmp_path, chest, quirk):
    written(tmp_path, chest, quirk)
    scan = only_scan(tmp_path)
    assert scan.geometry.shape[0] == N
    assert np.array_equal(scan.hu(), chest)
    assert scan.geometry.spacing == pytest.approx((STEP, 7.81, 7.81), abs=0.02)
    assert not scan.warnings


JOINED = {
    "acquisition that alternates": lambda i: {"AcquisitionNumber": i % 2},
    "acquisition in every other": lambda i: {"AcquisitionNumber": 1} if i % 2 else {},
    "frame of reference of each file": lambda i: {"FrameOfReferenceUID": uid("frame", i)},
    "frame of reference that alternates": lambda i: {"FrameOfReferenceUID": uid("frame", i % 2)},
    "no frame of reference in some": lambda i: {"FrameOfReferenceUID": None} if i % 3 else {},
    "series of each file": lambda i: {"SeriesInstanceUID": uid("series", i)},
    "series and number of each file": lambda i: {
        "SeriesInstanceUID": uid("series", i),
        "SeriesNumber": i,
    },
    "series of every two files": lambda i: {"SeriesInstanceUID": uid("series", i // 2)},
    "series that alternates": lambda i: {"SeriesInstanceUID": uid("series", i % 2)},
    "no series in some": lambda i: {"SeriesInstanceUID": "" if i % 3 else uid("series")},
    "series in two halves": lambda i: {"SeriesInstanceUID": uid("series", i // 10)},
    "study of each file": lambda i: {"StudyInstanceUID": uid("study", i)},
    "study and series of each file": lambda i: {
        "StudyInstanceUID": uid("study", i),
        "SeriesInstanceUID": uid("series", i),
        "FrameOfReferenceUID": uid("frame", i),
    },
    "study that alternates": lambda i: {"StudyInstanceUID": uid("study", i % 2)},
}


@pytest.mark.parametrize("quirk", JOINED.values(), ids=JOINED.keys())
def test_parts_of_one_stack_are_joined_and_reported(tmp_path, chest, quirk):
    written(tmp_path, chest, quirk)
    scan = only_scan(tmp_path)
    assert np.array_equal(scan.hu(), chest)
    (joined,) = (decision for decision in scan.decisions if decision.topic == "series")
    assert joined.choice.startswith("20 slices from")
    assert joined.warning


def test_files_of_two_folders_with_uids_of_their_own_are_joined(tmp_path, chest):
    for half in (0, 1):
        written(tmp_path / str(half), chest[half::2], lambda i: {}, moved(half * STEP, 2 * STEP))
        for i, path in enumerate((tmp_path / str(half)).iterdir()):
            change(path, SeriesInstanceUID=uid("series", half, i))
    assert np.array_equal(only_scan(tmp_path).hu(), chest)


def test_missing_slice_of_a_joined_series_is_a_gap(tmp_path, chest):
    written(tmp_path, chest, lambda i: {"SeriesInstanceUID": uid("series", i)})
    (tmp_path / "0007.dcm").unlink()
    scan = only_scan(tmp_path)
    assert scan.missing_slices == {7}
    assert {decision.topic for decision in scan.warnings} == {"series", "slices"}


def moved(shift, step=STEP):
    affine = AXIAL.copy()
    affine[2, 0], affine[2, 3] = step, affine[2, 3] + shift
    return affine


def other_breath(hu):
    """Return a chest as of another breath: wider, and with its slices further up."""
    wide = np.repeat(np.repeat(hu, 9, 1), 9, 2)[:, 30:-30:8, 30:-30:8]
    size = min(hu.shape[1], wide.shape[1])
    new = np.full_like(hu, -1000)
    new[:, :size, :size] = wide[:, :size, :size]
    return np.roll(new, 3, 0)


LABELS = {
    "series": {"SeriesInstanceUID": uid("b"), "SeriesNumber": 2, "SeriesDescription": "expiration"},
    "series of one number": {"SeriesInstanceUID": uid("b")},
    "acquisition": {"AcquisitionNumber": 2},
    "frame of reference": {"FrameOfReferenceUID": uid("b")},
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS.keys())
def test_two_breaths_between_each_other_stay_separate(tmp_path, chest, label):
    once = {"AcquisitionNumber": 1, "SeriesDescription": "inspiration", "SliceThickness": 1}
    written(tmp_path / "a", chest[::2], lambda i: {}, moved(0, 2 * STEP), **once)
    written(
        tmp_path / "b",
        other_breath(chest)[1::2],
        lambda i: {},
        moved(STEP, 2 * STEP),
        **{**once, **label},
    )
    found = find_scans(tmp_path)
    assert sorted(one.load("hu").geometry.shape[0] for one in found) == [10, 10]
    scan = read(tmp_path, units="hu")
    assert scan.geometry.shape[0] == 10
    assert "series" in {decision.topic for decision in scan.warnings}


@pytest.mark.parametrize(
    "label",
    [
        LABELS["series"],
        {"ConvolutionKernel": "B70f"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"SeriesInstanceUID": uid("b"), "SliceThickness": 1},
    ],
)
def test_reconstructions_between_each_other_stay_separate(tmp_path, chest, label):
    plain = {"ConvolutionKernel": "B30f", "SliceThickness": 6}
    written(tmp_path / "a", chest[::2], lambda i: {}, moved(0, 2 * STEP), **plain)
    written(tmp_path / "b", chest[1::2], lambda i: {}, moved(STEP, 2 * STEP), **{**plain, **label})
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), chest[::2])
    rows = [one.load("hu") for one in find_scans(tmp_path) if one.chosen]
    if "SeriesInstanceUID" not in label:
        assert [{d.topic for d in row.warnings} for row in rows] == [{"series", "coverage"}]


def test_reconstructions_at_one_place_stay_separate_without_a_flag(tmp_path, chest):
    written(tmp_path / "a", chest, lambda i: {}, ConvolutionKernel="B30f", series="a")
    written(tmp_path / "b", chest + 9, lambda i: {}, ConvolutionKernel="B70f", series="b")
    scan, other = (one.load("hu") for one in find_scans(tmp_path))
    assert scan.geometry.shape[0] == other.geometry.shape[0] == N
    assert not scan.warnings
    assert not other.warnings


def test_quirks_inside_two_series_are_joined_in_each(tmp_path, chest):
    for kernel in ("B30f", "B70f"):
        elements = {"ConvolutionKernel": kernel, "series": kernel, "SeriesNumber": len(kernel)}
        written(tmp_path / kernel, chest, lambda i: {"AcquisitionNumber": i % 2}, **elements)
    assert [one.load("hu").geometry.shape[0] for one in find_scans(tmp_path)] == [N, N]


def test_series_that_follows_another_of_other_number_is_not_joined_but_flagged(tmp_path, chest):
    written(tmp_path / "a", chest[:8], lambda i: {}, series="a", SeriesNumber=1)
    written(tmp_path / "b", chest[8:], lambda i: {}, moved(8 * STEP), series="b", SeriesNumber=2)
    scan = read(tmp_path, units="hu")
    assert scan.geometry.shape[0] == 12
    assert [decision.topic for decision in scan.warnings] == ["series"]


def test_series_that_fills_the_gaps_of_another_is_not_joined_but_flagged(tmp_path, chest):
    other = {"SeriesInstanceUID": uid("other"), "SeriesNumber": 5}
    written(tmp_path, chest, lambda i: other if i % 2 else {})
    (found,) = [one for one in find_scans(tmp_path) if one.chosen]
    for scan in (found.load("hu"), read(tmp_path, units="hu")):
        assert scan.geometry.shape[0] == N // 2
        assert "coverage" in [decision.topic for decision in scan.warnings]


def test_follow_up_is_not_joined(tmp_path, chest):
    written(tmp_path / "a", chest[:10], lambda i: {})
    after = {"StudyInstanceUID": uid("later"), "SeriesInstanceUID": uid("later")}
    written(tmp_path / "b", chest[10:], lambda i: {}, moved(10 * STEP), **after)
    assert [one.load("hu").geometry.shape[0] for one in find_scans(tmp_path)] == [10, 10]


def test_single_slices_of_many_anonymous_patients_stay_separate(tmp_path, chest):
    rng = np.random.default_rng(0)
    anyone = [np.roll(chest[k], rng.integers(64), axis=(0, 1)) for k in rng.permutation(N)]
    written(
        tmp_path,
        np.array(anyone),
        lambda i: {"StudyInstanceUID": uid("study", i), "SeriesInstanceUID": uid("series", i)},
        PatientID="",
        PatientName="",
    )
    assert len(find_scans(tmp_path)) == N


def test_part_of_a_series_that_is_dropped_is_a_warning_and_a_flag(tmp_path, chest):
    written(tmp_path, chest, lambda i: {"ImageType": ["DERIVED"]} if i > 11 else {})
    for i in (15, 17):  # what is left of the second part is uneven
        change(tmp_path / f"{i:04d}.dcm", ImagePositionPatient=[-90, -120, 31.9 + i * STEP])
    for scan in (read(tmp_path), next(o for o in find_scans(tmp_path) if o.load).load("auto")):
        assert scan.geometry.shape[0] == 12
        assert {d.topic for d in scan.warnings} == {"series", "coverage"}


def test_single_slices_that_cannot_be_joined_are_flagged(tmp_path, chest):
    written(tmp_path, chest, lambda i: {"SeriesInstanceUID": uid("series", i), "SeriesNumber": i})
    for i in (5, 9, 12):
        change(tmp_path / f"{i:04d}.dcm", ImagePositionPatient=[-90, -120, 32.9 + i * STEP])
    scan = read(tmp_path, units="hu")
    assert scan.geometry.shape[0] == 1
    assert "coverage" in {decision.topic for decision in scan.warnings}
    chosen = [one for one in find_scans(tmp_path) if one.chosen]
    assert len(chosen) == 1
    assert "coverage" in {decision.topic for decision in chosen[0].load("hu").warnings}


def test_two_patients_of_one_name_are_two(tmp_path, chest):
    written(tmp_path, chest, lambda i: {"PatientID": str(i % 2), "PatientName": "Doe^John"})
    with pytest.raises(ScanError, match="2 patients"):
        read(tmp_path)


def test_studies_without_uid_are_those_of_their_folders(tmp_path, chest):
    for name in "ab":
        written(tmp_path / name, chest, lambda i: {}, StudyInstanceUID="", series=name)
    assert [one.chosen for one in find_scans(tmp_path)] == [True, True]


def test_series_that_is_asked_for_and_cannot_be_read_is_the_error(tmp_path, chest):
    written(tmp_path / "a", chest, lambda i: {}, series="a", SeriesNumber=1)
    written(tmp_path / "b", chest, lambda i: {}, series="b", SeriesNumber=2)
    change(tmp_path / "b" / "0004.dcm", ImagePositionPatient=[-90, -120, 31 + 4.3 * STEP])
    with pytest.raises(ScanError, match="unevenly spaced"):
        read(tmp_path, series="2")
    assert len({one.name for one in find_scans(tmp_path)}) == 2


def test_two_refused_series_of_one_folder_have_names_of_their_own(tmp_path, chest):
    for k in (1, 2):
        written(tmp_path / str(k), chest, lambda i: {}, series=k)
        change(tmp_path / str(k) / "0004.dcm", ImagePositionPatient=[-90, -120, 31 + 4.3 * STEP])
        for path in (tmp_path / str(k)).iterdir():
            path.rename(tmp_path / f"{k}{path.name}")
    assert len({one.name for one in find_scans(tmp_path)}) == 2


def test_pixels_are_not_read_where_the_header_decides(tmp_path, chest, monkeypatch):
    written(tmp_path, chest, lambda i: {"SeriesInstanceUID": uid("series", i)})
    monkeypatch.setattr(continuity, "_thumbnail", lambda _: pytest.fail("a slice was decoded"))
    assert read(tmp_path, units="hu").geometry.shape[0] == N


def multi_frame(path, hu, phases, **content):
    """Write an Enhanced CT of slices (slices, 64, 64), each once in every phase."""
    (first,) = write_series(path.parent, hu[:1], AXIAL, names=[path.name])
    dataset = pydicom.dcmread(first)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    frames = []
    for phase in range(phases):
        for i in range(len(hu)):
            frame, plane, number = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
            plane.ImagePositionPatient = [-90, -120, 31 + i * STEP]
            for name, value in content.items():
                setattr(number, name, value(phase, i))
            frame.PlanePositionSequence, frame.FrameContentSequence = [plane], [number]
            frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
    stored = np.concatenate([hu + 1024 + phase for phase in range(phases)])
    dataset.PixelData = stored.astype("<i2").tobytes()
    dataset.save_as(path)


PHASES = {
    "temporal position": {"TemporalPositionIndex": lambda phase, i: phase + 1},
    "acquisition": {"FrameAcquisitionNumber": lambda phase, i: phase + 1},
    "stack": {"StackID": lambda phase, i: str(phase)},
}


@pytest.mark.parametrize("content", PHASES.values(), ids=PHASES.keys())
def test_phases_of_a_multi_frame_file_are_volumes_of_their_own(tmp_path, chest, content):
    multi_frame(tmp_path / "ct.dcm", chest, 2, **content)
    found = [one.load("hu").hu() for one in find_scans(tmp_path)]
    assert sorted(int(hu[0, 0, 0] - chest[0, 0, 0]) for hu in found) == [0, 1]
    assert [decision.topic for decision in read(tmp_path).warnings] == ["series"]


def test_frames_with_acquisitions_of_their_own_are_one_volume(tmp_path, chest):
    multi_frame(tmp_path / "ct.dcm", chest, 1, FrameAcquisitionNumber=lambda phase, i: i)
    scan = only_scan(tmp_path)
    assert np.array_equal(scan.hu(), chest)
    assert not scan.warnings
