"""Volumes of every format, read by pleura and by ITK, lie at the same place in the patient."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series
from scipy.spatial.transform import Rotation

from pleura.formats.read import read
from pleura.formats.write import write_labels, write_volume
from pleura.masks.mask import Mask

SHAPE = (5, 7, 6)
MARK = (1, 5, 2)
TURNS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
OBLIQUE = [
    Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    for angles in ((10, 0, 0), (-20, 15, 5), (3, -35, 170), (91, 2, -44))
]
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def volume():
    rng = np.random.default_rng(1)
    hu = rng.integers(-1000, 200, SHAPE, np.int16)
    hu[MARK] = 1234
    return hu


def itk_image(directions, array=None):
    """Make an ITK image; columns of directions are those of its column, row and slice index."""
    image = sitk.GetImageFromArray(volume() if array is None else array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-101.5, -88.25, 33.0))
    image.SetDirection(directions.ravel().tolist())
    return image


def mark_in_itk(image):
    index = np.argwhere(sitk.GetArrayFromImage(image) == 1234)[0]
    return image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("directions", [*TURNS, *OBLIQUE])
def test_every_orientation_and_its_mask_agree_with_itk(tmp_path, suffix, directions):
    if np.linalg.det(directions) < 0 and suffix.startswith(".nii"):
        pytest.skip("ITK writes no left-handed NIfTI")  # their own test is below
    image = itk_image(directions)
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, str(path))
    scan = read(path, units="hu")
    assert np.array_equal(scan.values(), volume())
    place = mark_in_itk(image)
    assert scan.geometry.index_to_world(MARK) == pytest.approx(place, abs=1e-3)
    assert scan.geometry.spacing == pytest.approx((2.5, 0.8, 0.7), abs=1e-5)

    labels = np.zeros(SHAPE, np.uint8)
    labels[MARK] = 2
    write_labels(tmp_path / f"mask{suffix}", Mask(labels, scan))
    written = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert np.array_equal(sitk.GetArrayFromImage(written), labels)
    assert written.GetPixelID() == sitk.sitkUInt8
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        mine, theirs = getattr(written, what)(), getattr(image, what)()
        assert mine == pytest.approx(theirs, abs=1e-5), what
    again = read(tmp_path / f"mask{suffix}", units="hu")
    assert again.geometry.is_close(scan.geometry)


@pytest.mark.parametrize("directions", [*TURNS, *OBLIQUE])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_dicom_of_every_orientation_agrees_with_itk(tmp_path, suffix, directions):
    affine = np.eye(4)
    affine[:3, :3] = directions[:, ::-1] * (2.5, 0.8, 0.7)
    affine[:3, 3] = (-101.5, -88.25, 33.0)
    paths = write_series(tmp_path / "series", volume(), affine, names="dbeac")
    scan = read(tmp_path / "series", units="hu")
    index = np.argwhere(scan.values() == 1234)[0]
    place = affine @ (*MARK, 1)
    assert scan.geometry.index_to_world(index) == pytest.approx(place[:3], abs=1e-4)

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    assert mark_in_itk(reader.Execute()) == pytest.approx(place[:3], abs=1e-3)

    labels = np.zeros(SHAPE, np.uint8)
    labels[tuple(index)] = 1
    write_labels(tmp_path / f"mask{suffix}", Mask(labels, scan))
    written = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    found = np.argwhere(sitk.GetArrayFromImage(written) == 1)[0]
    there = written.TransformIndexToPhysicalPoint([int(i) for i in found[::-1]])
    assert there == pytest.approx(place[:3], abs=1e-3)
    assert len(paths) == SHAPE[0]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64]
)
def test_every_voxel_type_is_read(tmp_path, suffix, dtype):
    array = (volume() % 100).astype(dtype)
    sitk.WriteImage(itk_image(np.eye(3), array), str(tmp_path / f"scan{suffix}"))
    values = read(tmp_path / f"scan{suffix}", units="hu").values()
    assert values.dtype == dtype
    assert np.array_equal(values, array)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".nrrd", ".mha"])
def test_header_and_data_apart_or_together_compressed_or_not(tmp_path, suffix, compressed):
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(itk_image(OBLIQUE[1]), str(path), useCompression=compressed)
    assert np.array_equal(read(path, units="hu").values(), volume())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_slope_and_intercept_are_applied_once(tmp_path, suffix):
    import nibabel as nib

    image = nib.Nifti1Image(volume().T + 1024, np.diag([-0.7, -0.8, 2.5, 1]))
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read(tmp_path / "a.nii.gz", units="hu").hu(), volume())
    image.header.set_slope_inter(0.5, -12)
    nib.save(image, tmp_path / "b.nii")
    expected = (volume() + 1024) * 0.5 - 12
    np.testing.assert_allclose(read(tmp_path / "b.nii", units="hu").values(), expected)


@pytest.mark.parametrize("directions", [d for d in TURNS if np.linalg.det(d) < 0])
def test_left_handed_nifti_agrees_with_nibabel(tmp_path, directions):
    import nibabel as nib

    ras = np.eye(4)
    ras[:3, :3] = np.diag((-1, -1, 1)) @ directions * (0.7, 0.8, 2.5)
    ras[:3, 3] = (101.5, 88.25, 33.0)
    nib.save(nib.Nifti1Image(volume().T, ras), tmp_path / "scan.nii")
    scan = read(tmp_path / "scan.nii", units="hu")
    place = (ras @ (*MARK[::-1], 1))[:3] * (-1, -1, 1)
    assert scan.geometry.index_to_world(MARK) == pytest.approx(place, abs=1e-4)
    write_labels(tmp_path / "mask.nii", Mask((volume() == 1234).astype(np.uint8), scan))
    assert np.allclose(nib.load(tmp_path / "mask.nii").affine, ras, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_other_volumes_are_written_on_the_grid_too(tmp_path, suffix, dtype):
    image = itk_image(OBLIQUE[2])
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    scan = read(tmp_path / "scan.mha", units="hu")
    array = (volume() % 120).astype(dtype)
    write_volume(tmp_path / f"other{suffix}", array, scan.geometry)
    written = sitk.ReadImage(str(tmp_path / f"other{suffix}"))
    assert np.array_equal(sitk.GetArrayFromImage(written), array)
    assert written.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-5)
