import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import with_raw_values, write_series
from scipy.ndimage import gaussian_filter, label
from test_seg import mask  # noqa: F401

from pleura.errors import ScanError
from pleura.formats.dicom.contours import find_contours
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

STRAIGHT = affine_from_axes((0, 0, 0), ((0, 0, 5), (0, 1, 0), (1, 0, 0)))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    affine = affine_from_axes((-9, 4, 2), ((0, 0, 2.5), (0, 0.7, 0), (0.6, 0, 0)))
    write_series(folder, np.zeros((4, 30, 26), np.int16), affine)
    return read(folder, units="hu")


def drawn_again(dataset, mask):  # noqa: F811
    """Draw the contours by pixel centres, on the slices that they name."""
    inverse = np.linalg.inv(mask.geometry.affine)
    slices = {frame.sop_instance_uid: i for i, frame in enumerate(mask.scan.origin.frames) if frame}
    labels = np.zeros_like(mask.labels)
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
            index = points @ inverse[:3, :3].T + inverse[:3, 3]
            i = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert np.allclose(index[:, 0], i, atol=1e-2)
            polygon = np.ascontiguousarray(index[:, :0:-1], np.float32)
            for r, c in np.ndindex(labels.shape[1:]):
                if cv2.pointPolygonTest(polygon, (float(c), float(r)), measureDist=False) > 0:
                    labels[i, r, c] = roi.ReferencedROINumber
    return labels


def test_contours_drawn_again_give_the_mask(mask, tmp_path):  # noqa: F811
    write_labels(tmp_path / "lungs.rtstruct.dcm", mask)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    expected = mask.labels.copy()
    expected[2] = 0  # the slice that is missing has no image to refer to
    assert np.array_equal(drawn_again(dataset, mask), expected)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["Lung_R", "Lung_L"]
    assert dataset.FrameOfReferenceUID == mask.scan.origin.first.frame_of_reference_uid


def test_single_label_is_one_structure(mask, tmp_path):  # noqa: F811
    one = Mask(np.minimum(mask.labels, 1), mask.scan, sides=False)
    write_labels(tmp_path / "lungs.rtstruct.dcm", one)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["Lungs"]


def test_a_region_with_holes_is_one_contour_that_reads_back(tmp_path, series):
    rng = np.random.default_rng(3)
    labels = (gaussian_filter(rng.normal(size=(4, 30, 26)), (0, 1, 1)) > -0.05).astype(np.uint8)
    mask = Mask(labels, series, sides=False)  # noqa: F811
    write_labels(tmp_path / "lungs.rtstruct.dcm", mask)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    assert np.array_equal(drawn_again(dataset, mask), labels)
    contours = dataset.ROIContourSequence[0].ContourSequence
    assert {contour.ContourGeometricType for contour in contours} == {"CLOSED_PLANAR"}
    assert len(contours) == sum(label(image)[1] for image in labels)
    assert sum(label(image == 0)[1] for image in labels) > 8  # there were holes


@pytest.mark.parametrize("seed", range(20))
def test_rings_filled_by_either_rule_give_any_slice_back(seed):
    rng = np.random.default_rng(seed)
    inside = gaussian_filter(rng.normal(size=rng.integers(3, 30, 2)), seed % 3) > -0.02
    times = sum(filled(ring, inside.shape).astype(int) for ring in find_contours(inside))
    assert np.array_equal(times, inside)  # so neither XOR nor OR of the contours changes it


def filled(ring, shape):
    """Fill a polygon by the even-odd rule at the centres of pixels."""
    rows, columns = np.indices(shape)
    result = np.zeros(shape, bool)
    for (r0, c0), (r1, c1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if r0 != r1:
            crossed = (rows >= min(r0, r1)) & (rows < max(r0, r1))
            result ^= crossed & (columns < c0 + (rows - r0) / (r1 - r0) * (c1 - c0))
    return result


def test_a_lung_that_was_not_found_has_no_contours(mask, tmp_path):  # noqa: F811
    right = Mask(np.where(mask.labels == 1, 1, 0).astype(np.uint8), mask.scan)
    write_labels(tmp_path / "lungs.rtstruct.dcm", right)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    assert ["ContourSequence" in roi for roi in dataset.ROIContourSequence] == [True, False]


def test_contours_lie_in_the_planes_of_unevenly_spaced_slices(tmp_path):
    paths = write_series(tmp_path / "series", np.zeros((3, 8, 8), np.int16), STRAIGHT)
    scan = read(tmp_path / "series", units="hu")
    assert scan.geometry.shape == (3, 8, 8)
    with_raw_values(paths[1:2], ImagePositionPatient=["0", "0", "5.2"])
    scan = read(tmp_path / "series", units="hu")
    write_labels(tmp_path / "a.rtstruct.dcm", Mask(np.ones((3, 8, 8), np.uint8), scan))
    contours = pydicom.dcmread(tmp_path / "a.rtstruct.dcm").ROIContourSequence[0].ContourSequence
    assert [{float(z) for z in one.ContourData[2::3]} for one in contours] == [{0}, {5.2}, {10}]


def test_structure_set_of_no_dicom_is_refused(tmp_path):
    scan = from_array(np.zeros((2, 8, 8), np.int16), units="hu")
    with pytest.raises(ScanError, match="refers to DICOM slices"):
        write_labels(tmp_path / "a.rtstruct.dcm", Mask(np.ones((2, 8, 8), np.uint8), scan))
