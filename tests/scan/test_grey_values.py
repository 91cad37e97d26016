"""Stored values of images without HU as grey values from 0 to 255."""

import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.formats.images import from_array
from pleura.intensity.grey import to_grey

GREY = np.linspace(3, 250, 2 * 16 * 16).round().reshape(2, 16, 16)


@pytest.mark.parametrize(
    "stored",
    [
        GREY.astype(np.uint8),
        GREY.astype(np.int32),
        GREY / 255,
        (GREY / 255).astype(np.float32),
        GREY / 127.5 - 1,
    ],
)
def test_8_bits_and_shares_are_known_scales(stored):
    scan = from_array(stored, units="grey")
    found = scan.grey()
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, GREY)
    np.testing.assert_array_equal(scan.grey(1, 2), GREY[1:])


def test_other_values_are_scaled_by_the_range_of_the_whole_scan():
    stored = np.uint16(100) + np.arange(2 * 16 * 16, dtype=np.uint16).reshape(2, 16, 16) * 100
    scan = from_array(stored, units="grey")
    found = np.concatenate([scan.grey(i, i + 1) for i in range(2)])
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_array_equal(found, np.rint((stored - 100.0) / 51100 * 255))


@pytest.mark.parametrize("scale", [1, 1 / 255, 100])
def test_inverted_images_are_inverted(scale):
    stored = (GREY - 3 if scale == 100 else GREY) * scale
    expected = from_array(stored, units="grey").grey()
    white = {1: 255, 1 / 255: 1}.get(scale, stored.max())
    found = from_array(white - stored, units="inverted").grey()
    np.testing.assert_array_equal(found, expected)


def test_hu_are_no_grey_values():
    scan = from_array(GREY, units="hu")
    with pytest.raises(ScanError, match="in HU, not in grey values") as raised:
        scan.grey()
    assert raised.value.where == "array"


def test_a_window_clips():
    hu = np.array([-2000, -1024, -200, 600, 3000], np.int16)
    np.testing.assert_array_equal(to_grey(hu, -1024, 600), [0, 0, 129, 255, 255])
