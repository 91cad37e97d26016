import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import (
    Preprocessing,
    preprocess_image,
    preprocess_mask,
    preprocess_pairs,
    resample_probability,
    resize_nearest,
)
from pleura.errors import DataError


def disk(side, row, column, radius):
    y, x = np.mgrid[:side, :side]
    return ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.uint8)


def centroid(mask):
    return np.array([axis.mean() for axis in np.nonzero(mask)])


@pytest.mark.parametrize("scaling", ["max", "minmax"])
def test_image_is_prepared_as_the_exercise_does(sample, scaling):
    path = sorted(sample.images.glob("*.tif"))[10]
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64)
    if scaling == "max":
        image = image / image.max()
    else:
        image = (image - image.min()) / (image.max() - image.min())
    expected = cv2.resize(image, (128, 128), interpolation=cv2.INTER_LANCZOS4)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    prepared = preprocess_image(stored, Preprocessing(scaling=scaling))
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, atol=1e-5)


def test_window_clips_to_its_ends():
    image = np.array([[-2000, -1000], [-500, 900]], np.int16).repeat(4, 0).repeat(4, 1)
    preprocessing = Preprocessing(scaling="window", window=(-1000, 0), size=(8, 8))
    assert np.unique(preprocess_image(image, preprocessing)).tolist() == [0, 0.5, 1]


def test_max_scaling_refuses_an_image_without_positive_values():
    with pytest.raises(DataError, match="maximum of the image is -3"):
        preprocess_image(np.array([[-9, -3]], np.int16), Preprocessing())


def test_nearest_mask_takes_the_upper_left_pixel_of_those_it_covers():
    mask = np.zeros((16, 16), np.uint8)
    mask[::2, ::2] = 1
    assert preprocess_mask(mask, Preprocessing(size=(8, 8))).all()


def test_area_mask_is_the_fraction_that_is_lung():
    mask = np.zeros((16, 16), np.uint8)
    mask[:, :3] = 1
    found = preprocess_mask(mask, Preprocessing(size=(8, 8), mask_interpolation="area"))
    assert found[0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("interpolation", ["nearest", "area"])
def test_restored_mask_lies_where_the_reference_lies(interpolation):
    mask = disk(512, 201.3, 322.8, 90)
    preprocessing = Preprocessing(mask_interpolation=interpolation)
    restored = (
        resample_probability(preprocess_mask(mask, preprocessing), (512, 512), preprocessing) >= 0.5
    )
    np.testing.assert_allclose(centroid(restored), centroid(mask), atol=0.3)
    assert (restored & (mask == 1)).sum() / (restored | (mask == 1)).sum() > 0.98


def test_restore_keeps_a_map_that_has_the_size():
    preprocessing = Preprocessing()
    probability = np.random.default_rng(0).random((128, 128), np.float32)
    assert resample_probability(probability, (128, 128), preprocessing) is probability


def test_resize_nearest_samples_as_opencv_does():
    mask = disk(512, 200, 300, 90).astype(np.float32)
    expected = cv2.resize(mask, (128, 128), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(resize_nearest(mask, (128, 128)), expected)


def test_fingerprint_knows_names_pixels_and_masks(sample, tmp_path):
    pairs = find_pairs(sample.images, sample.masks)[:3]
    preprocessing = Preprocessing(size=(16, 16))
    first = preprocess_pairs(pairs, preprocessing).fingerprint
    assert preprocess_pairs(pairs, preprocessing).fingerprint == first
    assert preprocess_pairs(pairs[::-1], preprocessing).fingerprint != first
    swapped = [
        type(pairs[0])(p.name, p.image, q.mask) for p, q in zip(pairs, pairs[::-1], strict=True)
    ]
    assert preprocess_pairs(swapped, preprocessing).fingerprint != first


@pytest.mark.parametrize("values", [{"window": (0, 0)}, {"size": (4, 128)}, {"scaling": "sum"}])
def test_impossible_preprocessing_is_refused(values):
    with pytest.raises(ValidationError):
        Preprocessing(**values)
