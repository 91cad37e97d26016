"""The filters of the landmarks, compared with OpenCV, which the base install lacks."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from pleura.segmentation.holes import SMALL_HOLE, fill_holes
from pleura.segmentation.landmarks import _convex_hull, _mean_filter, _window_sums


@pytest.fixture(params=range(20))
def blobs(request):
    """A random mask with several components and holes."""
    rng = np.random.default_rng(request.param)
    shape = rng.integers(20, 140, 2)
    noise = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), rng.uniform(0.5, 4))
    return noise > np.quantile(noise, rng.uniform(0.3, 0.95))


def test_convex_hull_is_that_of_opencv_to_one_pixel(blobs):
    expected = np.zeros(blobs.shape, np.uint8)
    outline = cv2.convexHull(cv2.findNonZero(blobs.astype(np.uint8)))
    cv2.fillConvexPoly(expected, outline, 1)
    hull = _convex_hull(blobs)
    assert (hull | ~blobs).all()
    inner = cv2.erode(expected, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    assert (inner <= hull).all()
    assert (hull <= cv2.dilate(expected, np.ones((3, 3)))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_convex_hull_of_a_point_and_a_line_is_itself(shape):
    mask = np.pad(np.ones(shape, bool), 2)
    assert np.array_equal(_convex_hull(mask), mask)


@pytest.mark.parametrize("size", [(3, 3), (1, 5), (4, 7), (6, 2)])
def test_mean_filter_equals_opencv(size):
    image = np.random.default_rng(0).normal(0, 300, (40, 31)).astype(np.float32)
    expected = cv2.blur(image, size[::-1])
    np.testing.assert_allclose(_mean_filter(image, size), expected, atol=1e-3)


@pytest.mark.parametrize("radius", [0, 1, 4, 30, 90])
def test_full_windows_are_the_eroded_mask_of_opencv(blobs, radius):
    side = 2 * radius + 1
    expected = cv2.erode(
        blobs.astype(np.uint8),
        np.ones((side, side)),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    full = _window_sums(blobs, (side, side)) == side**2
    assert full.sum() == expected.sum()
    rows, columns = full.shape
    inside = expected[radius : radius + rows, radius : radius + columns]
    assert np.array_equal(full, inside)


def test_small_holes_of_slices_are_filled(blobs):
    filled = fill_holes(np.stack([blobs, np.zeros_like(blobs)]), blobs.size)[0]
    holes, count = ndimage.label(ndimage.binary_fill_holes(blobs) & ~blobs)
    sizes = ndimage.sum_labels(np.ones_like(holes), holes, range(count + 1))
    small = (sizes <= SMALL_HOLE * blobs.size) & (np.arange(count + 1) > 0)
    assert np.array_equal(filled, blobs | small[holes])
