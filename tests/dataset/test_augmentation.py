import numpy as np
import pytest

from pleura.dataset.augmentation import Augmentation, augment, augment_batch

STILL = {"shift": 0.0, "rotation": 0.0, "zoom": (1.0, 1.0)}


def ellipse(side=128, row=60.0, column=66.0):
    y, x = np.mgrid[:side, :side]
    return (((y - row) / 30) ** 2 + ((x - column) / 18) ** 2 < 1).astype(np.float32)


def iou(a, b):
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


def centroid(mask):
    return np.array([axis.mean() for axis in np.nonzero(mask > 0.5)])


def test_image_and_mask_move_alike():
    # An image that equals its mask must stay equal to it; draws that are not shared part them.
    masks = np.stack([ellipse(row=50 + 3 * i) for i in range(12)])
    images, moved = augment_batch(masks, masks, Augmentation(), np.random.default_rng(0))
    agreement = [iou(i > 0.5, m > 0.5) for i, m in zip(images, moved, strict=True)]
    assert min(agreement) > 0.97
    shuffled = [iou(i > 0.5, m > 0.5) for i, m in zip(images, moved[::-1], strict=True)]
    assert np.median(shuffled) < 0.9


def test_masks_stay_binary():
    _, moved = augment(ellipse(), ellipse(), Augmentation(), np.random.default_rng(3))
    assert set(np.unique(moved)) == {0, 1}


def test_soft_masks_move_smoothly():
    augmentation = Augmentation(mask_interpolation="linear")
    _, moved = augment(ellipse(), ellipse(), augmentation, np.random.default_rng(3))
    assert 0 <= moved.min() < moved.max() <= 1
    assert len(np.unique(moved)) > 10


def test_draws_follow_the_generator():
    mask = ellipse()
    draws = [augment(mask, mask, Augmentation(), np.random.default_rng(s))[0] for s in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_shift_stays_within_its_range_and_uses_it():
    rng = np.random.default_rng(0)
    augmentation = Augmentation(shift=0.1, rotation=0, zoom=(1, 1))
    moves = [
        centroid(augment(ellipse(), ellipse(), augmentation, rng)[1]) - centroid(ellipse())
        for _ in range(200)
    ]
    assert 0.1 * 128 + 0.5 >= np.abs(moves).max() > 0.09 * 128
    assert np.abs(np.mean(moves, 0)).max() < 1.5


def test_zoom_stays_within_its_range_and_uses_it():
    rng = np.random.default_rng(0)
    augmentation = Augmentation(shift=0, rotation=0, zoom=(0.9, 1.1))
    areas = [augment(ellipse(), ellipse(), augmentation, rng)[1].sum() for _ in range(200)]
    ratio = np.array(areas) / ellipse().sum()
    assert 0.8 < ratio.min() < 0.85
    assert 1.15 < ratio.max() < 1.22


def test_rotation_turns_about_the_centre_within_its_range():
    rng = np.random.default_rng(0)
    augmentation = Augmentation(shift=0, rotation=10, zoom=(1, 1))
    angles = []
    for _ in range(200):
        moved = augment(ellipse(row=63.5, column=63.5), ellipse(), augmentation, rng)[0]
        y, x = np.nonzero(moved > 0.5)
        np.testing.assert_allclose([y.mean(), x.mean()], [63.5, 63.5], atol=0.3)
        covariance = np.cov(x, y)
        half = np.arctan2(2 * covariance[0, 1], covariance[1, 1] - covariance[0, 0]) / 2
        angles.append(np.rad2deg(half))
    assert 9 < np.abs(angles).max() < 10.5
    assert min(angles) < -8 < 8 < max(angles)


def test_flip_mirrors_half_of_the_draws():
    rng = np.random.default_rng(0)
    columns = [
        centroid(augment(m, m, Augmentation(**STILL, flip=True), rng)[1])[1]
        for m in [ellipse(column=40)] * 100
    ]
    assert 30 < np.sum(np.array(columns) > 64) < 70
    np.testing.assert_allclose(np.unique(np.round(columns)), [40, 87], atol=1)


def test_values_change_only_in_the_image():
    augmentation = Augmentation(**STILL, intensity_scale=0.2, intensity_shift=0.1, noise=0.05)
    image, mask = augment(ellipse(), ellipse(), augmentation, np.random.default_rng(1))
    assert np.array_equal(mask, ellipse())
    assert 0 < np.abs(image - ellipse()).mean() < 0.5


def test_what_comes_in_at_the_border_is_the_edge():
    image = np.full((64, 64), 7, np.float32)
    moved, _ = augment(image, image, Augmentation(shift=0.5), np.random.default_rng(0))
    assert (moved == 7).all()


def test_zoom_must_be_a_positive_range():
    with pytest.raises(ValueError, match="zoom"):
        Augmentation(zoom=(1.1, 0.9))
