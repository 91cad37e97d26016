"""Image and mask in the wrong order are detected; other errors of legal data are unchanged."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from pleura.errors import DataError, ScanError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.formats.read import read
from pleura.masks.exchanged import detect_exchanged, require_not_exchanged
from pleura.masks.labels import read_mask


@pytest.fixture
def volume(sample):
    return sample.folder / "volume" / "ct.nii.gz", sample.folder / "volume" / "lungs.nii.gz"


def test_exchanged_files_are_detected(sample, volume):
    slices = [(sample.images / path.name, path) for path in sorted(sample.masks.iterdir())]
    assert any(not read_image_file(mask).any() for _, mask in slices)
    for image, mask in (volume, *slices):
        require_not_exchanged(image, mask)
        with pytest.raises(DataError, match="the image is a mask, and the mask is an image"):
            require_not_exchanged(mask, image)


def test_two_masks_or_two_images_are_not_exchanged(volume):
    for path in volume:
        require_not_exchanged(path, path)


@pytest.mark.parametrize("name", ["LCTSC-101_013.tif", "LCTSC-101_048.tif"])
def test_probabilities_are_not_images(sample, tmp_path, name):
    mask = read_image_file(sample.masks / name)
    probability = uniform_filter(mask / np.float32(255), 9)
    write_image_file(tmp_path / "probability.tif", probability)
    write_image_file(tmp_path / "grey.tif", np.uint8(255 * probability))
    require_not_exchanged(sample.images / name, tmp_path / "probability.tif")
    require_not_exchanged(sample.images / name, tmp_path / "grey.tif")


def test_other_errors_are_unchanged(volume, tmp_path):
    ct, mask = volume
    with pytest.raises(ScanError, match="as in a mask or label map"), detect_exchanged(mask, mask):
        read(mask)
    with pytest.raises(DataError, match="are not labels"), detect_exchanged(ct, ct):
        read_mask(ct)
    with pytest.raises(ScanError, match="as in a mask"), detect_exchanged(mask, None):
        read(mask)
    missing = tmp_path / "missing.nii.gz"
    with pytest.raises(ScanError, match="no such file"), detect_exchanged(mask, missing):
        read(missing)
