import nibabel as nib
import numpy as np
import pytest

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_pairs
from pleura.dataset.volumes import read_volume, read_volume_mask
from pleura.errors import DataError, DataWarning
from pleura.formats.image_files import write_image_file

AFFINE = np.diag([-4.0, -4.0, 6.0, 1.0])


@pytest.fixture
def folders(tmp_path):
    """One volume of four slices of 16x16, the lowest of padding alone."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    hu = np.random.default_rng(0).integers(-900, 100, (16, 16, 4)).astype(np.int16)
    hu[..., 0] = -1024
    save(tmp_path / "images" / "chest.nii.gz", hu)
    save(tmp_path / "masks" / "chest.nii.gz", labels(2))
    return tmp_path / "images", tmp_path / "masks"


def labels(n):
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[4 : 4 + n, 4:8, 1:] = 1
    return mask


def save(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def mhd(path, array):
    """Write a MetaImage header once; its voxels, in a separate file, each time."""
    if not path.exists():
        size = " ".join(map(str, array.T.shape[::-1]))
        path.write_text(
            f"ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementType = MET_UCHAR\n"
            "ElementSpacing = 4 4 6\nElementDataFile = voxels.raw\n"
        )
    (path.parent / "voxels.raw").write_bytes(array.astype(np.uint8).T.tobytes())


@pytest.mark.parametrize(("name", "write"), [("x.nii", save), ("x.mhd", mhd)])
def test_mask_that_is_written_again_is_read_again(tmp_path, name, write):
    for n in (2, 3, 4):
        write(tmp_path / name, labels(n))
        assert read_volume_mask(tmp_path / name)[0].sum() == n * 4 * 3


def test_image_that_is_written_again_is_read_again(folders):
    pair = find_pairs(*folders)[2]
    before = read_pair(pair)[0]
    hu = np.asarray(nib.load(pair.image).dataobj).copy()
    hu[3, 3] += 1
    save(pair.image, hu)
    assert np.count_nonzero(read_pair(pair)[0] != before) == 1


@pytest.mark.parametrize("values", [labels(2) * 0.5, labels(2) * -1.0, np.arange(1024.0)])
def test_what_is_no_mask_is_refused(tmp_path, values):
    save(tmp_path / "x.nii", np.resize(values, (16, 16, 4)).astype(np.float32))
    with pytest.raises(DataError, match="not labels"):
        read_volume_mask(tmp_path / "x.nii")


def test_all_labels_of_a_mask_are_lung_with_a_warning_where_they_are_not_known(tmp_path):
    save(tmp_path / "x.nii", labels(2) * np.float32(14))
    assert read_volume_mask(tmp_path / "x.nii")[0].sum() == 2 * 4 * 3
    more = labels(2)
    more[8:, :, 2] = 3
    save(tmp_path / "y.nii", more)
    with pytest.warns(DataWarning, match=r"y\.nii: labels: 1, 3 both lungs"):
        assert read_volume_mask(tmp_path / "y.nii")[0].sum() == 2 * 4 * 3 + 8 * 16


def test_slice_of_padding_has_no_nan_whatever_the_scaling(folders):
    pairs = find_pairs(*folders)
    for scaling in ("minmax", "window"):
        prepared = preprocess_pairs(pairs, Preprocessing(scaling=scaling, size=(16, 16)))
        assert np.isfinite(prepared.images).all()
        assert np.ptp(prepared.images[0]) == 0


def test_volume_with_nan_is_a_data_error(folders):
    hu = np.full((16, 16, 4), -1000, np.float32)
    hu[3, 3, 2] = np.nan
    save(folders[0] / "chest.nii.gz", hu)
    with pytest.raises(DataError, match="NaN"):
        read_pair(find_pairs(*folders)[0])


@pytest.mark.parametrize("stored", ["LPS", "RPS", "LAS", "RAS"])
def test_mask_without_orientation_is_stored_as_its_image(tmp_path, stored):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    image = np.full((16, 16, 1), -900, np.int16)
    image[2:5, 3:9] = 40
    axes = nib.orientations.axcodes2ornt(stored, [("R", "L"), ("A", "P"), ("I", "S")])
    affine = nib.orientations.inv_ornt_aff(axes, image.shape)
    nib.save(nib.Nifti1Image(image, np.diag([-4, -4, 6, 1]) @ affine), tmp_path / "images/a.nii.gz")
    write_image_file(tmp_path / "masks/a.png", (image[..., 0].T > 0).astype(np.uint8) * 255)
    (pair,) = find_pairs(tmp_path / "images", tmp_path / "masks")
    hu, mask = read_pair(pair)
    assert np.array_equal(mask > 0, hu > 0)


def test_missing_or_broken_volume_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_volume(tmp_path / "gone.nii")
    (tmp_path / "broken.nii").write_bytes(bytes(400))
    with pytest.raises(DataError, match="NIfTI"):
        read_volume(tmp_path / "broken.nii")
