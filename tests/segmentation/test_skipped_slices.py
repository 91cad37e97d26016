"""Slices between two slices without lung are skipped, and the mask is that of all slices."""

from dataclasses import replace

import numpy as np
import pytest

import pleura
from pleura.scan.geometry import Geometry
from pleura.segmentation import inference
from pleura.segmentation.segmenter import Segmenter


@pytest.fixture
def counting_segmenter(monkeypatch):
    with Segmenter() as segmenter:
        slices = []
        probability = segmenter.engine.probability

        def counted(values):
            slices.extend(values)
            return probability(values)

        monkeypatch.setattr(segmenter.engine, "probability", counted)
        yield segmenter, slices


@pytest.fixture(scope="module")
def whole_body(sample):
    """The sample at a spacing of 3 mm, with 40 more slices at the feet."""
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    hu = scan.hu()
    return np.concatenate([np.repeat(hu[:4], 10, 0), hu])


def scan_of(hu, spacing=3.0, **known):
    scan = pleura.from_array(hu, spacing=(spacing, 3.91, 3.91), units="hu")
    return replace(scan, geometry=replace(scan.geometry, **known)) if known else scan


def test_mask_is_that_of_all_slices(counting_segmenter, whole_body, monkeypatch):
    segmenter, slices = counting_segmenter
    fast = segmenter(scan_of(whole_body), warn=False).labels
    run = len(slices)
    slices.clear()
    monkeypatch.setattr(inference, "PROBE_DISTANCE", 0)
    expected = segmenter(scan_of(whole_body), warn=False).labels
    assert len(slices) == len(whole_body)
    assert run < 0.65 * len(whole_body)
    assert expected.any((1, 2)).sum() > 35
    np.testing.assert_array_equal(fast, expected)


def test_no_slice_is_skipped_if_the_spacing_is_unknown(counting_segmenter, whole_body):
    segmenter, slices = counting_segmenter
    segmenter(scan_of(whole_body, spacing_known=False), warn=False)
    assert len(slices) == len(whole_body)


@pytest.mark.parametrize(("spacing", "step"), [(0.5, 8), (1.5, 8), (2, 4), (5, 2), (10, 1)])
def test_distance_of_slices_that_are_predicted_first(spacing, step):
    geometry = Geometry((100, 128, 128), np.diag([spacing, 1, 1, 1]))
    assert inference._probe_step(geometry) == step


@pytest.mark.parametrize("first", range(9))
def test_lung_of_any_position_is_predicted(first):
    """A lung of 12 slices starts at each position within a batch."""
    slices = np.zeros((40, 2, 2), np.int16)
    slices[first + 8 : first + 20] = 255

    class Threshold:
        def output_shape(self, shape):
            return shape

        def probability(self, values):
            return values.astype(np.uint8)

    is_empty, results = False, []
    for start in range(0, 40, inference.BATCH_SIZE):
        batch = slices[start : start + inference.BATCH_SIZE]
        (result,), is_empty = inference._predict_batch([Threshold()], [batch], 8, is_empty)
        results.append(result)
    np.testing.assert_array_equal(np.concatenate(results), slices)
