"""Rasterisation of polygons, compared with OpenCV and with an implementation pixel by pixel."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pleura.formats.dicom.contours import find_contours
from pleura.formats.dicom.polygons import fill_polygons


def random_region(seed):
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=rng.integers(3, 60, 2)), seed % 3) > -0.02


def filled(polygons, shape):
    """Fill polygons by the even-odd rule, by a ray to the right of each centre."""
    rows, columns = np.indices(shape)
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if r0 != r1:
                crossed = (rows >= min(r0, r1)) & (rows < max(r0, r1))
                inside ^= crossed & (columns < c0 + (rows - r0) / (r1 - r0) * (c1 - c0))
    return inside


@pytest.mark.parametrize("seed", range(20))
def test_contours_with_keyholes_give_the_region_back(seed):
    region = random_region(seed)
    inside, crossing = fill_polygons(find_contours(region), region.shape)
    assert np.array_equal(inside, region)
    assert not crossing


@pytest.mark.parametrize("seed", range(20))
def test_contours_through_centres_of_pixels_include_these(seed):
    region = random_region(seed)
    found, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rounding = np.random.default_rng(seed).uniform(-1e-3, 1e-3, (len(found), 1, 2))
    contours = [c[:, 0, ::-1] + r for c, r in zip(found, rounding, strict=True)]
    assert np.array_equal(fill_polygons(contours, region.shape)[0], region)


@pytest.mark.parametrize("seed", range(40))
def test_random_polygons_that_leave_the_image(seed):
    rng = np.random.default_rng(seed)
    polygons = [
        rng.integers(-1500, 3500, (rng.integers(3, 12), 2)) / 100 + 0.003
        for _ in range(seed % 3 + 1)
    ]
    rounded = [np.rint(polygon * 100) / 100 for polygon in polygons]
    expected = filled(rounded, (20, 23))
    inside, _ = fill_polygons(polygons, (20, 23))
    on_edge = [
        cv2.pointPolygonTest(np.float32(polygon), (float(r), float(c)), measureDist=False) == 0
        for polygon in rounded
        for r, c in np.argwhere(inside ^ expected)
    ]
    assert np.count_nonzero(inside ^ expected) <= sum(on_edge)


def square(low, high):
    return np.array([(low, low), (low, high), (high, high), (high, low)], float)


def test_polygons_inside_others_are_holes_and_islands():
    inside, crossing = fill_polygons(
        [square(0.5, 10.5), square(2.5, 8.5), square(4.5, 6.5)], (12, 12)
    )
    expected = np.zeros((12, 12), bool)
    expected[1:11, 1:11], expected[3:9, 3:9], expected[5:7, 5:7] = True, False, True
    assert np.array_equal(inside, expected)
    assert not crossing


@pytest.mark.parametrize(
    ("polygon", "crosses"),
    [
        ([(0.5, 0.5), (9.5, 9.5), (9.5, 0.5), (0.5, 9.5)], True),  # a figure of eight
        ([(1, 1), (1, 5), (5, 5), (5, 1)] * 2, True),  # twice around
        ([(1, 1), (5, 1), (5, 5), (1, 5), (1, 1)], False),
    ],
)
def test_crossing_and_overlap_are_noticed(polygon, crosses):
    assert fill_polygons([np.array(polygon)], (11, 11))[1] == crosses


def test_a_polygon_outside_or_without_area_is_empty():
    line = np.array([(1.5, 1.5), (1.5, 4.5)])
    inside, _ = fill_polygons([square(20, 24), square(-9, -3), line], (8, 8))
    assert not inside.any()
