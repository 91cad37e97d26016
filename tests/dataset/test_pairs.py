import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series
from PIL import Image

from pleura.dataset.images_2d import read_image_2d, read_mask_2d
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import LPS_FROM_RAS, affine_from_axes

LUNG = np.zeros((12, 12), np.uint8)
LUNG[2:9, 3:7] = 1
BLACK, RED, WHITE, GREEN = (0, 0, 0), (128, 0, 0), (255, 255, 255), (0, 128, 0)


def palette(path, indices, *colours):
    image = Image.new("P", indices.shape[::-1])
    image.putdata(indices.ravel().tolist())
    image.putpalette([value for colour in colours for value in colour])
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("indices", "colours"),
    [
        (LUNG, (BLACK, RED)),
        (LUNG, (GREEN, RED)),
        (LUNG * 3, (BLACK, GREEN, GREEN, RED)),
        (LUNG, (BLACK, WHITE)),
        (1 - LUNG, (WHITE, BLACK)),
    ],
)
def test_palette_of_a_mask_stands_for_labels(tmp_path, suffix, indices, colours):
    path = palette(tmp_path / f"m{suffix}", indices, *colours)
    assert np.array_equal(read_mask_2d(path), LUNG)
    assert np.array_equal(read_mask(path).labels[0] > 0, LUNG > 0)


def test_palette_with_black_elsewhere_is_refused(tmp_path):
    path = palette(tmp_path / "m.png", 1 - LUNG, RED, BLACK)
    with pytest.raises(
        DataError, match=r"(?s)black has index 1 in the palette of the mask, not 0.*m\.png"
    ):
        read_mask_2d(path)


def test_palette_of_an_image_is_its_colours(tmp_path):
    path = palette(tmp_path / "m.png", LUNG, BLACK, RED)
    assert read_image_file(path).shape == (12, 12, 3)
    with pytest.raises(DataError, match="the image has 3 colour channels"):
        read_image_2d(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_equal_channels_are_grey(tmp_path, mode, suffix):
    grey = Image.fromarray(LUNG * 255)
    grey.convert(mode).save(tmp_path / f"m{suffix}")
    assert np.array_equal(read_image_2d(tmp_path / f"m{suffix}"), LUNG * 255)
    assert np.array_equal(read_mask_2d(tmp_path / f"m{suffix}"), LUNG)


@pytest.mark.parametrize("read", [read_image_2d, read_mask_2d])
def test_colour_and_transparency_are_refused(tmp_path, read):
    colours = np.stack([LUNG * 255, LUNG * 255, LUNG * 254], axis=-1)
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    clear = np.stack([np.full_like(LUNG, 255)] * 3 + [LUNG * 255], axis=-1)
    Image.fromarray(clear).save(tmp_path / "rgba.png")
    for name, channels in (("rgb.png", 3), ("rgba.png", 4)):
        with pytest.raises(DataError, match=f"has {channels} colour channels"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "values", [LUNG * 255, LUNG.astype(np.int32) * 7, LUNG.astype(np.float64), LUNG > 0]
)
def test_dtype_and_value_of_the_label_do_not_matter(tmp_path, values):
    np.save(tmp_path / "m.npy", values)
    assert np.array_equal(read_mask_2d(tmp_path / "m.npy"), LUNG)


@pytest.mark.parametrize("suffix", [".dcm", ".rtstruct.dcm", ".seg.nrrd"])
def test_volumes_may_have_dicom_masks(tmp_path, suffix):
    affine = affine_from_axes((-12, 7, 30), ((0, 0, 2.5), (0, 0.75, 0), (0.7, 0, 0)))
    hu = np.random.default_rng(0).integers(-900, 100, (4, 20, 24), np.int16)
    write_series(tmp_path / "series", hu, affine)
    scan = read(tmp_path / "series", units="hu")
    labels = np.zeros(hu.shape, np.uint8)
    labels[1:3, 4:9, 6:14], labels[2, 12:16, 3:7] = 1, 2
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Mask(labels, scan).write(tmp_path / "masks" / f"a{suffix}")
    reverse = np.eye(4)[[2, 1, 0, 3]]
    image = nib.Nifti1Image(hu.T, LPS_FROM_RAS @ affine @ reverse)
    nib.save(image, tmp_path / "images" / "a.nii.gz")
    pairs = find_pairs(tmp_path / "images", tmp_path / "masks")
    assert [pair.name for pair in pairs] == [f"a.nii.gz#{i:03d}" for i in range(4)]
    reader = PairReader()
    for i, pair in enumerate(pairs):
        image, mask = reader.read(pair)
        assert np.array_equal(image, hu[i])
        assert np.array_equal(mask, labels[i] > 0)
