"""DICOM SEG, RT Structure Sets and .seg.nrrd as masks: selection, placement and bad files."""

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from dicom_files import uid, with_raw_values, write_series
from pydicom.dataset import Dataset

from pleura.errors import DataError, PleuraError, ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.masks.selection import parse_roi
from pleura.scan.geometry import LPS_FROM_RAS, affine_from_axes
from pleura.scan.labels import LEFT, RIGHT

AFFINE = affine_from_axes((-12, 7, 30), ((0, 0, 2.5), (0, 0.75, 0), (0.7, 0, 0)))
SHAPE = (7, 22, 26)
KINDS = ["seg.dcm", "a.rtstruct.dcm", "a.seg.nrrd"]


@pytest.fixture
def scan(tmp_path):
    write_series(tmp_path / "series", np.full(SHAPE, -800, np.int16), AFFINE)
    return read(tmp_path / "series", units="hu")


@pytest.fixture
def labels():
    found = np.zeros(SHAPE, np.uint8)
    found[1:6, 4:18, 3:10], found[2:6, 5:16, 15:23] = RIGHT, LEFT
    found[3, 8:12, 5:8] = 0  # a hole
    return found


@pytest.fixture(params=KINDS)
def path(request, tmp_path, scan, labels):
    Mask(labels, scan).write(tmp_path / request.param)
    return tmp_path / request.param


@pytest.fixture
def structures(tmp_path, scan, labels):
    """Return the data set of an RT Structure Set, and a function that saves a change of it."""
    target = tmp_path / "changed.dcm"
    Mask(labels, scan).write(tmp_path / "a.rtstruct.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")

    def save():
        dataset.save_as(target)
        return target

    return dataset, save


def warnings_of(mask):
    return [str(decision) for decision in mask.decisions if decision.warning]


def nifti(tmp_path, shape, affine, value=-800):
    """Write a volume (slices, rows, columns) whose affine is in LPS, and read it."""
    reverse = np.eye(4)[[2, 1, 0, 3]]
    image = nib.Nifti1Image(np.full(shape, value, np.int16).T, LPS_FROM_RAS @ affine @ reverse)
    nib.save(image, tmp_path / "ct.nii.gz")
    return read(tmp_path / "ct.nii.gz", units="hu")


def test_written_masks_are_read_back(path, scan, labels):
    mask = read_mask(path, scan)
    assert np.array_equal(mask.labels, labels)
    assert mask.sides
    assert mask.scan is scan
    assert not warnings_of(mask)


@pytest.mark.parametrize("text", ["Lung_R=2,Lung_L=1", "lung r = 2, LUNG_L=1", "1=2,2=1"])
def test_structures_are_selected_by_name_and_number(path, scan, labels, text):
    mask = read_mask(path, scan, roi=parse_roi(text))
    assert np.array_equal(mask.labels, np.array([0, 2, 1])[labels])
    assert any("may be swapped" in text for text in warnings_of(mask))


def test_structures_are_selected_by_code(tmp_path, scan, labels):
    Mask(labels, scan).write(tmp_path / "seg.dcm")
    mask = read_mask(tmp_path / "seg.dcm", scan, roi={"sct:3341006": 9})
    assert np.array_equal(mask.labels, 9 * (labels == RIGHT))
    assert str(mask.decisions[0]) == "labels: Right lung as label 9 (as requested)"


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_the_scan_may_be_stored_in_another_orientation(path, tmp_path, labels, axes, flips):
    turned = AFFINE.copy()
    turned[:3, :3] = AFFINE[:3, :3][:, axes] * flips
    corner = [
        n - 1 if flip < 0 else 0 for n, flip in zip(np.array(SHAPE)[[*axes]], flips, strict=True)
    ]
    turned[:3, 3] = AFFINE[:3, 3] - turned[:3, :3] @ corner
    expected = labels.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    mask = read_mask(path, nifti(tmp_path, expected.shape, turned))
    assert np.array_equal(mask.labels, expected)
    assert not warnings_of(mask)


def test_the_scan_may_be_larger_or_cropped(path, tmp_path, labels):
    larger = AFFINE.copy()
    larger[:3, 3] -= AFFINE[:3, :3] @ (2, 1, 3)
    mask = read_mask(path, nifti(tmp_path, (11, 24, 30), larger))
    assert np.array_equal(mask.labels[2:9, 1:23, 3:29], labels)
    assert np.count_nonzero(mask.labels) == np.count_nonzero(labels)
    cropped = AFFINE.copy()
    cropped[:3, 3] += AFFINE[:3, :3] @ (3, 2, 0)
    mask = read_mask(path, nifti(tmp_path, (4, 20, 26), cropped))
    assert np.array_equal(mask.labels, labels[3:, 2:])
    (warning,) = warnings_of(mask)[:1]
    assert "ignored (outside of the scan)" in warning


def test_a_scan_on_another_grid_is_a_warning(path, tmp_path, labels):
    fine = AFFINE.copy()
    fine[:3, 0] /= 2.5  # slices every millimetre
    mask = read_mask(path, nifti(tmp_path, (16, *SHAPE[1:]), fine))
    nearest = np.rint(np.arange(16) / 2.5).astype(int)
    assert np.array_equal(mask.labels, labels[nearest])
    (warning,) = set(warnings_of(mask))
    assert "nearest" in warning


def test_a_mask_elsewhere_is_refused(path, tmp_path):
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += 500
    with pytest.raises(DataError, match="outside of the scan"):
        read_mask(path, nifti(tmp_path, SHAPE, elsewhere))


def test_a_scan_without_patient_coordinates_is_refused(path):
    with pytest.raises(DataError, match="in patient coordinates"):
        read_mask(path, from_array(np.zeros(SHAPE, np.int16), units="hu"))


def test_without_a_scan_the_grid_is_that_of_the_file(path, labels):
    if "rtstruct" in path.name:
        with pytest.raises(DataError, match="defines no grid"):
            read_mask(path)
        return
    mask = read_mask(path)
    assert not mask.has_scan
    filled = labels[1:6] if path.name == "seg.dcm" else labels  # SEG has no empty frames
    assert np.array_equal(mask.labels, filled)


@pytest.mark.parametrize("shift", ["0.2", "0.8"])
def test_slices_that_are_not_evenly_spaced(tmp_path, labels, shift):
    paths = write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), AFFINE)
    position = ["-12", "7", "37.7"]
    with_raw_values(paths[3:4], ImagePositionPatient=position)
    scan = read(tmp_path / "series", units="hu")
    Mask(labels, scan).write(tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    for frame in seg.PerFrameFunctionalGroupsSequence:
        plane = frame.PlanePositionSequence[0]
        if abs(float(plane.ImagePositionPatient[2]) - 37.7) < 0.01:
            plane.ImagePositionPatient = [-12, 7, 37.5 + float(shift)]
    seg.save_as(tmp_path / "seg.dcm")
    if shift == "0.2":  # the frames are on the slices of the scan
        assert np.array_equal(read_mask(tmp_path / "seg.dcm", scan).labels, labels)
    else:
        with pytest.raises(ScanError, match="not parallel and evenly spaced"):
            read_mask(tmp_path / "seg.dcm", scan)


def test_another_frame_of_reference_is_refused(tmp_path, scan, labels, structures):
    Mask(labels, scan).write(tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    seg.FrameOfReferenceUID = uid("other frame")
    seg.save_as(tmp_path / "seg.dcm")
    dataset, save = structures
    for roi in dataset.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = uid("other frame")
    for file in (tmp_path / "seg.dcm", save()):
        with pytest.raises(DataError, match="another frame of reference than the scan"):
            read_mask(file, scan)


def test_another_series_of_the_frame_of_reference_is_a_warning(scan, structures):
    dataset, save = structures
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = uid("other series")
    assert "drawn on another series" in warnings_of(read_mask(save(), scan))[0]
    for roi in dataset.StructureSetROISequence:
        del roi.ReferencedFrameOfReferenceUID
    with pytest.raises(DataError, match="was drawn on another series"):
        read_mask(save(), scan)


def test_two_structures_of_one_name_are_selected_by_number(scan, labels, structures):
    dataset, save = structures
    dataset.StructureSetROISequence[1].ROIName = "Lung_R"
    for roi in (None, {"Lung_R": 1}):
        with pytest.raises(DataError, match=r"Lung_R \(numbers 1, 2\)") as error:
            read_mask(save(), scan, roi=roi)
        assert "1=1" in error.value.hint
    mask = read_mask(save(), scan, roi={"2": 1})
    assert np.array_equal(mask.labels, labels == LEFT)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("lung_upper_lobe_right", "Lung_LUL"), [0, 1, 2]),
        (("LUNG RT", "left lung"), [0, 1, 2]),
        (("Lungs", "Heart"), [0, 1, 0]),
        (("Heart", "Lung_L"), [0, 0, 2]),
    ],
)
def test_lungs_are_recognised_by_name(scan, labels, structures, names, expected):
    dataset, save = structures
    for roi, name in zip(dataset.StructureSetROISequence, names, strict=True):
        roi.ROIName = name
    mask = read_mask(save(), scan)
    assert np.array_equal(mask.labels, np.array(expected)[labels])


def test_a_file_without_lungs_names_its_structures(scan, structures):
    dataset, save = structures
    dataset.StructureSetROISequence[0].ROIName = "GTV"
    dataset.StructureSetROISequence[1].ROIName = "Heart"
    with pytest.raises(DataError, match="no structure of the lungs: GTV, Heart"):
        read_mask(save(), scan)
    with pytest.raises(DataError, match="no structure 'GTV2'; did you mean GTV") as error:
        read_mask(save(), scan, roi={"GTV2": 1})
    assert error.value.hint == "pass one of GTV, Heart"


def test_open_and_crossing_contours_are_warnings(scan, labels, structures):
    dataset, save = structures
    contours = dataset.ROIContourSequence[0].ContourSequence
    points = np.reshape([float(v) for v in contours[0].ContourData], (-1, 3))
    (left, top, z), (right, bottom, _) = points.min(0), points.max(0)
    eight = [(left, top, z), (right, bottom, z), (right, top, z), (left, bottom, z)]
    contours[0].ContourData = [f"{v:.4f}" for v in np.ravel(eight)]
    contours[1].ContourGeometricType = "OPEN_PLANAR"
    mask = read_mask(save(), scan)
    assert [text.split(" (")[0] for text in warnings_of(mask)] == [
        "mask: 1 contour ignored",
        "mask: filled by the even-odd rule on 1 slice",
    ]
    assert not (mask.labels[2] == RIGHT).any()
    assert (mask.labels[1] == RIGHT).sum() < (labels[1] == RIGHT).sum()
    assert np.array_equal(mask.labels[3:], labels[3:])


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_inside_another_one_is_a_hole(scan, labels, structures, kind):
    dataset, save = structures
    contours = dataset.ROIContourSequence[0].ContourSequence
    points = np.reshape([float(v) for v in contours[0].ContourData], (-1, 3))
    inner = Dataset()
    inner.ContourData = [
        f"{v:.4f}" for v in (points.mean(0) + (points - points.mean(0)) / 2).ravel()
    ]
    inner.ContourGeometricType = contours[0].ContourGeometricType = kind
    contours.append(inner)
    mask = read_mask(save(), scan)
    assert not mask.labels[1, 11, 6]
    assert mask.labels[1, 5, 4] == RIGHT


def test_contours_on_every_second_slice_also_fill_those_between(tmp_path):
    write_series(tmp_path / "series", np.zeros((11, *SHAPE[1:]), np.int16), AFFINE)
    scan = read(tmp_path / "series", units="hu")
    labels = np.zeros(scan.geometry.shape, np.uint8)
    for i in range(1, 11, 2):
        labels[i, 4 : 10 + i, 3:10] = 1
    Mask(labels, scan, sides=False).write(tmp_path / "a.rtstruct.dcm")
    mask = read_mask(tmp_path / "a.rtstruct.dcm", scan)
    assert np.array_equal(mask.labels[1::2], labels[1::2])
    assert all(mask.labels[i].any() for i in range(11))
    assert "nearest contours" in warnings_of(mask)[0]
    labels[[3, 7]] = 0  # gaps between contours on few slices are not filled
    Mask(labels, scan, sides=False).write(tmp_path / "a.rtstruct.dcm")
    assert np.array_equal(read_mask(tmp_path / "a.rtstruct.dcm", scan).labels, labels)


def test_oblique_contours_are_refused(structures, scan):
    dataset, save = structures
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = ["0", "10", "32", "9", "10", "36", "9", "18", "40"]
    with pytest.raises(DataError, match="oblique"):
        read_mask(save(), scan)


@pytest.mark.parametrize("value", [["1", "2"], ["nan", "1", "2"], ["1e12", "1", "2"]])
def test_invalid_coordinates_are_refused(structures, scan, value):
    dataset, save = structures
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    with pydicom.config.disable_value_validation():
        contour.add_new("ContourData", "LO", value)
        contour["ContourData"].VR = "DS"
        target = save()
    with pytest.raises(ScanError, match="invalid coordinates"):
        read_mask(target, scan)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_one_clear_error(path, scan, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    try:
        read_mask(path, scan)
    except PleuraError as error:
        assert error.hint  # noqa: PT017


@pytest.mark.parametrize(
    ("keyword", "value"), [("Rows", 65535), ("NumberOfFrames", 2**30), ("BitsAllocated", 32)]
)
def test_impossible_sizes_of_seg_are_refused(tmp_path, scan, labels, keyword, value):
    Mask(labels, scan).write(tmp_path / "seg.dcm")
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(ScanError):
        read_mask(tmp_path / "seg.dcm", scan)


@pytest.mark.parametrize(
    "wrong", ["", "Lung_R", "Lung_R=", "=1", "Lung_R=0", "Lung_R=256", "a=1,b"]
)
def test_a_selection_of_another_form_is_refused(wrong):
    with pytest.raises(DataError, match=r"not a selection|from 1 to 255"):
        parse_roi(wrong)
    assert parse_roi("SCT:3341006=1, Lung, left=2") == {"SCT:3341006": 1, "Lung, left": 2}


LOBES = {"totalsegmentator": ((12, 13, 14), (10, 11)), "moose": ((3, 4, 5), (1, 2))}


@pytest.mark.parametrize("preset", [*LOBES, "lungmask"])
def test_presets_ignore_other_structures(tmp_path, preset):
    right, left = LOBES.get(preset, LOBES["moose"])
    values = np.zeros((1, 4, 40), np.uint8)
    values[0, 1:3, : len(right)] = right
    values[0, 1:3, 20 : 20 + len(left)] = left
    values[0, 3] = np.arange(60, 100)  # more labels than a mask of lungs has
    np.save(tmp_path / "m.npy", values)
    mask = read_mask(tmp_path / "m.npy", roi=preset)
    assert np.array_equal(
        mask.labels[0, 1], np.isin(values[0, 1], right) + 2 * np.isin(values[0, 1], left)
    )
    assert not mask.labels[0, 3].any()
    assert np.array_equal(read_mask(tmp_path / "m.npy", roi={"60": 3}).labels, 3 * (values == 60))
    with pytest.raises(DataError, match="no names of structures"):
        read_mask(tmp_path / "m.npy", roi={"Lung_R": 1})
    (decision,) = read_mask(tmp_path / "m.npy", roi={"200": 1}).decisions
    assert decision.reason == "none of them is in the mask"


def slicer_header(layers):
    """Return the header of a .seg.nrrd file with two segments, as 3D Slicer 5 writes it."""
    header = {"space": "left-posterior-superior", "encoding": "gzip"}
    steps, origin = AFFINE[:3, 2::-1].T, AFFINE[:3, 3] + AFFINE[:3, :3] @ (1, 0, 2)
    header["space origin"] = origin
    header["kinds"] = ["list"] * (layers > 1) + ["domain"] * 3
    header["space directions"] = np.vstack([[np.nan] * 3] * (layers > 1) + [*steps])
    for i, name in enumerate(("left lung", "Tumour")):
        header |= {
            f"Segment{i}_ID": f"Segment_{i}",
            f"Segment{i}_Name": name,
            f"Segment{i}_Layer": str(i if layers > 1 else 0),
            f"Segment{i}_LabelValue": str(1 if layers > 1 else i + 1),
        }
    return header


@pytest.mark.parametrize("layers", [1, 2])
def test_cropped_segments_of_slicer_may_be_in_layers(tmp_path, scan, layers):
    lung = np.zeros((5, 10, 12), np.uint8)
    lung[1:4, 2:8, 3:10] = 1
    tumour = np.zeros_like(lung)
    tumour[2:4, 3:5, 5:12] = 1
    stored = np.stack([lung, tumour], -1) if layers > 1 else np.maximum(lung, 2 * tumour)
    path = tmp_path / "Segmentation.seg.nrrd"
    nrrd.write(str(path), stored, slicer_header(layers), index_order="C")
    mask = read_mask(path, scan, roi={"left lung": 2, "Tumour": 3})
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:6, :10, 2:14] = np.maximum(2 * lung, 3 * tumour)
    assert np.array_equal(mask.labels, expected)
    assert any("in several structures" in str(d) for d in mask.decisions) == (layers > 1)
    only = read_mask(path, scan, roi={"left lung": 2}).labels[1:6, :10, 2:14] == 2
    assert np.array_equal(only, lung if layers > 1 else lung > tumour)


def test_layers_are_no_scan(tmp_path):
    path = tmp_path / "Segmentation.seg.nrrd"
    nrrd.write(str(path), np.zeros((5, 10, 12, 2), np.uint8), slicer_header(2), index_order="C")
    with pytest.raises(ScanError, match="2 values per voxel"):
        read(path)


def test_a_written_seg_nrrd_has_names_and_codes(tmp_path, scan, labels):
    Mask(labels, scan).write(tmp_path / "a.seg.nrrd")
    header = nrrd.read_header(str(tmp_path / "a.seg.nrrd"))
    assert [header[f"Segment{i}_Name"] for i in range(2)] == ["Lung_R", "Lung_L"]
    assert [header[f"Segment{i}_LabelValue"] for i in range(2)] == ["1", "2"]
    assert "SCT^39607008^Lung~SCT^24028007^Right" in header["Segment0_Tags"]
    coded = {"SCT:7771000": 2}
    assert np.array_equal(
        read_mask(tmp_path / "a.seg.nrrd", scan, roi=coded).labels, 2 * (labels == 2)
    )
    Mask(np.minimum(labels, 1), scan, sides=False).write(tmp_path / "both.seg.nrrd")
    both = read_mask(tmp_path / "both.seg.nrrd", scan)
    assert (both.sides, both.labels.max()) == (False, 1)
