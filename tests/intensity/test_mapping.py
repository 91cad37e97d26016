import numpy as np
import pytest

from pleura.intensity.mapping import HU, IntensityMapping
from pleura.intensity.wraparound import Wraparound


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_hu_clips_padding_and_returns_int16(dtype):
    result = HU.to_hu(np.array([-2000, -1025, -1024, 0, 3071], dtype))
    assert result.tolist() == [-1024, -1024, -1024, 0, 3071]
    assert result.dtype == np.int16


def test_hu_clips_values_above_int16():
    assert HU.to_hu(np.array([32767, 32768, 70000], np.int32)).tolist() == [32767] * 3


def test_hu_rounds_float_values():
    assert HU.to_hu(np.array([-0.6, 0.4, 1.6])).tolist() == [-1, 0, 2]


def test_scale_and_offset_are_inverted_and_rounded():
    """stored = 2 HU + 10"""
    mapping = IntensityMapping(scale=2, offset=10)
    assert mapping.to_hu(np.array([-190, 10, 13.2, 14.8])).tolist() == [-100, 0, 2, 2]


def test_offset_alone_is_subtracted():
    stored = np.array([24, 1024], np.uint16)
    assert IntensityMapping(offset=1024).to_hu(stored).tolist() == [-1000, 0]


@pytest.mark.parametrize("sign", [1, -1], ids=["dark air", "bright air"])
def test_control_points_are_interpolated_and_extrapolated_with_the_scale(sign):
    """Air, fat and muscle are -1000, -105 and 45 HU."""
    points = (sign * 20.0, sign * 90.0, sign * 150.0)
    mapping = IntensityMapping(scale=sign * 0.5, control_points=points)
    stored = sign * np.array([15, 20, 48, 90, 120, 150, 160])
    assert mapping.to_hu(stored).tolist() == [-1010, -1000, -642, -105, -30, 45, 65]


def test_wraparound_is_restored_before_the_offset_is_subtracted():
    mapping = IntensityMapping(offset=24, wraparound=Wraparound(-32768, 65536))
    assert mapping.to_hu(np.array([65536 - 500, 124], np.uint16)).tolist() == [-524, 100]


def test_str_is_the_name():
    assert str(IntensityMapping(1, 1024, "HU plus 1024")) == "HU plus 1024"
    assert str(HU) == "HU"


def test_integers_are_scaled_without_an_offset():
    stored = np.array([-2000, 100], np.int16)
    assert IntensityMapping(scale=2).to_hu(stored).tolist() == [-1000, 50]
