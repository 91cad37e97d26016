"""Masks of classes that overlap: written, read back, measured and compared."""

import nrrd
import numpy as np
import pytest
from dicom_files import write_series

import pleura
from pleura.errors import ScanError
from pleura.evaluation.compare import compare
from pleura.formats.read import read
from pleura.formats.write import label_files
from pleura.masks.classes import read_classes
from pleura.masks.mask import Mask
from pleura.measurement.measure import measure
from pleura.scan.geometry import affine_from_axes
from pleura.scan.labels import Label

CLASSES = (
    Label(1, "lung", overlap=True),
    Label(2, "lesion", ("SCT", "52988006", "Lesion"), overlap=True),
    Label(7, "right/upper lobe", overlap=True),
)


@pytest.fixture
def scan(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 200, (6, 24, 32)).astype(np.int16)
    affine = affine_from_axes([-10, -20, 5], ([0, 0, 3], [0, 0.8, 0], [0.8, 0, 0]))
    write_series(tmp_path / "ct", hu, affine)
    return read(tmp_path / "ct")


@pytest.fixture
def mask(scan):
    bits = np.zeros(scan.geometry.shape, np.uint16)
    rows, columns = (side // 4 for side in bits.shape[1:])
    bits[1:, rows : 3 * rows, columns : 3 * columns] |= 1
    bits[1:-1, rows + 1 : 2 * rows + 2, columns - 2 : 2 * columns] |= 2
    bits[:, 2 * rows :, 2 * columns :] |= 4
    assert {3, 5} <= {*np.unique(bits)}
    return Mask(bits, scan, False, classes=CLASSES)


@pytest.mark.parametrize("suffix", [".dcm", ".rtstruct.dcm", ".seg.nrrd"])
def test_one_file_holds_all_classes(tmp_path, scan, mask, suffix):
    path = tmp_path / f"mask{suffix}"
    assert label_files(path, CLASSES) == [path]
    mask.write(path)
    found = read_classes(path, CLASSES, scan.geometry, scan.origin)
    np.testing.assert_array_equal(found.labels, mask.labels)


def test_other_formats_have_one_file_per_class(tmp_path, mask):
    mask.write(tmp_path / "a.nii.gz")
    names = ["a_lung.nii.gz", "a_lesion.nii.gz", "a_right_upper_lobe.nii.gz"]
    assert [path.name for path in label_files(tmp_path / "a.nii.gz", CLASSES)] == names
    assert sorted(path.name for path in tmp_path.glob("*.gz")) == sorted(names)
    for name, label in zip(names, mask.regions.values(), strict=True):
        found = pleura.read_mask(tmp_path / name, mask.scan, roi={"1": 1})
        np.testing.assert_array_equal(found.labels, mask.inside(label))


def test_volumes_are_those_of_each_class(mask):
    assert mask.regions == {"lung": 1, "lesion": 2, "right/upper lobe": 4}
    voxel = mask.geometry.voxel_volume
    for i, label in enumerate(mask.regions.values()):
        expected = np.count_nonzero(mask.labels >> i & 1) * voxel
        assert mask.volume_ml(label) == pytest.approx(expected)
    measured = {region.region: region.volume_ml for region in measure(mask).regions}
    assert measured == pytest.approx({n: mask.volume_ml(v) for n, v in mask.regions.items()})


def test_structures_that_overlap_are_compared_as_a_whole(tmp_path, scan, mask):
    predicted, reference = tmp_path / "predicted", tmp_path / "reference"
    for folder in (predicted, reference):
        folder.mkdir()
    mask.write(reference / "a.dcm")
    mask.write(predicted / "a.seg.nrrd")
    result = compare(predicted, reference, classes={"lung": 1, "lesion": 2})
    assert [(s.region, s.metrics["dice"]) for s in result.scores] == [
        ("all labels", 1.0),
        ("lung", 1.0),
        ("lesion", 1.0),
    ]


def test_contours_of_all_classes_are_drawn(mask):
    from pleura.figures.overlay import overlay
    from pleura.figures.palette import label_colour, rgb

    i = len(mask.labels) // 2
    picture = overlay(mask.scan.hu()[i], mask.labels[i])
    assert {rgb(label_colour(n)) for n in (1, 2, 3)} <= {*map(tuple, picture.reshape(-1, 3))}


def test_the_dtype_of_labels_is_checked(scan, mask):
    with pytest.raises(ScanError, match="uint16 labels"):
        Mask(mask.labels.astype(np.uint8), scan, False, classes=CLASSES)
    many = tuple(Label(i + 1, str(i), overlap=True) for i in range(17))
    with pytest.raises(ScanError, match="17 classes may overlap; a mask has bits for 16"):
        Mask(mask.labels, scan, False, classes=many)


def test_layers_keep_the_grid_of_an_nrrd_scan(tmp_path, mask):
    path = tmp_path / "ct.nrrd"
    nrrd.write(str(path), mask.scan.hu().T, {"space": "RAS", "space directions": np.eye(3) * 2})
    scan = read(path)
    Mask(mask.labels, scan, False, classes=CLASSES).write(tmp_path / "mask.seg.nrrd")
    found = read_classes(tmp_path / "mask.seg.nrrd", CLASSES)
    assert found.geometry.matches(scan.geometry)
    np.testing.assert_array_equal(found.labels, mask.labels)
    header = nrrd.read_header(str(tmp_path / "mask.seg.nrrd"))
    assert header["space"] == "RAS"
    assert header["kinds"][0] == "list"
