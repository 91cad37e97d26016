import numpy as np
import pytest

from pleura.dataset.border_weights import border_weights, class_balance


def squares(*corners, side=8, shape=(40, 60)):
    mask = np.zeros(shape, np.uint8)
    for row, column in corners:
        mask[row : row + side, column : column + side] = 1
    return mask


def weights_by_equation(objects, w0=10.0, sigma=5.0):
    """Equation 2 by brute force: every background pixel against every pixel of each object."""
    mask = np.any(objects, axis=0)
    share = mask.mean()
    weights = np.where(mask, 0.5 / share, 0.5 / (1 - share))
    for row, column in np.argwhere(~mask):
        d1, d2 = sorted(np.hypot(*(np.argwhere(each) - (row, column)).T).min() for each in objects)[
            :2
        ]
        weights[row, column] += w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return weights


@pytest.mark.parametrize("second", [(10, 22), (16, 21), (25, 40), (18, 19)])
def test_gap_of_two_squares_weighs_what_equation_2_says(second):
    objects = [squares((10, 10)), squares(second)]
    expected = weights_by_equation(objects)
    np.testing.assert_allclose(border_weights(objects[0] | objects[1]), expected, rtol=1e-5)


def test_only_the_two_nearest_of_three_objects_count():
    objects = [squares((4, 4)), squares((4, 15)), squares((16, 9))]
    expected = weights_by_equation(objects, w0=7.0, sigma=3.0)
    found = border_weights(np.any(objects, axis=0).astype(np.uint8), w0=7.0, sigma=3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_middle_of_a_gap_of_five_pixels_weighs_the_closed_form():
    mask = squares((10, 10), (10, 23))  # columns 10-17 and 23-30, five between
    found = border_weights(mask, balance=(1.0, 3.0))
    assert found.dtype == np.float32
    assert found[13, 18:23] == pytest.approx(1 + 10 * np.exp(-(6**2) / 50))
    assert (found[mask == 1] == 3).all()


def test_one_object_weighs_its_class_balance_alone():
    mask = squares((10, 10))
    found = border_weights(mask)
    n, lung = mask.size, 64
    assert np.unique(found[mask == 1]) == pytest.approx(n / (2 * lung))
    assert np.unique(found[mask == 0]) == pytest.approx(n / (2 * (n - lung)))


@pytest.mark.parametrize("value", [0, 1])
def test_mask_of_one_class_weighs_one_everywhere(value):
    mask = np.full((7, 9), value, np.uint8)
    np.testing.assert_array_equal(border_weights(mask), np.ones((7, 9), np.float32))


def test_objects_that_touch_at_a_corner_are_one():
    mask = squares((10, 10), (18, 18))
    np.testing.assert_array_equal(np.unique(border_weights(mask, balance=(1, 2))), [1, 2])


def test_both_classes_of_a_set_weigh_the_same_in_sum_and_one_in_the_mean():
    rng = np.random.default_rng(0)
    masks = (rng.random((5, 16, 12)) < [[[0.1]], [[0]], [[0.3]], [[0.7]], [[0]]]).astype(np.uint8)
    background, lung = class_balance(masks)
    assert lung * masks.sum() == pytest.approx(background * (1 - masks).sum())
    assert np.where(masks, lung, background).mean() == pytest.approx(1)
