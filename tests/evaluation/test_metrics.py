import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pleura.errors import DataError
from pleura.evaluation.metrics import accuracy, dice, iou

masks = arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 255]))


def test_half_overlapping_squares():
    reference, prediction = np.zeros((2, 20, 20), bool)
    reference[5:15, 0:10] = True
    prediction[5:15, 5:15] = True
    assert iou(reference, prediction) == pytest.approx(50 / 150)
    assert dice(reference, prediction) == pytest.approx(100 / 200)
    assert accuracy(reference, prediction) == pytest.approx(1 - 100 / 400)


def test_both_empty_is_undefined_and_one_empty_is_zero():
    empty, full = np.zeros((3, 3)), np.ones((3, 3))
    assert math.isnan(iou(empty, empty))
    assert math.isnan(dice(empty, empty))
    assert accuracy(empty, empty) == 1
    assert iou(empty, full) == iou(full, empty) == dice(full, empty) == 0


@given(masks, masks)
def test_metrics_agree_with_sets_of_pixels(a, b):
    pixels = [{tuple(p) for p in np.argwhere(m)} for m in (a, b)]
    union, both = pixels[0] | pixels[1], pixels[0] & pixels[1]
    if union:
        assert iou(a, b) == pytest.approx(len(both) / len(union))
        assert dice(a, b) == pytest.approx(2 * len(both) / (len(pixels[0]) + len(pixels[1])))
    assert accuracy(a, b) == pytest.approx(1 - len(union - both) / 35)


def test_different_shapes_are_refused():
    message = (
        r"differ in shape: \(3, 3\) and \(3, 4\)\n  hint: resample both masks to the same grid$"
    )
    with pytest.raises(DataError, match=message):
        iou(np.zeros((3, 3)), np.zeros((3, 4)))
