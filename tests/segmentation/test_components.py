"""Components and holes, compared with the filters of SciPy on whole volumes."""

import numpy as np
import pytest
from scipy import ndimage

from pleura.segmentation.components import bounding_box, find_components
from pleura.segmentation.holes import SMALL_HOLE, fill_holes


@pytest.fixture(params=[0.01, 0.04, 0.12])
def volume(request):
    """A random mask of several slabs, with its first and its last voxel."""
    mask = np.random.default_rng(0).random((53, 21, 34)) < request.param
    mask[0, 0, 0] = mask[-1, -1, -1] = mask[15, 0, 0] = mask[16, 0, 0] = True
    return mask


def test_components_are_those_of_the_whole_volume(volume):
    expected, count = ndimage.label(volume, np.ones((3, 3, 3)))
    components = find_components(volume)
    found = np.concatenate([table[labels] for _, labels, table in components.slabs()])
    assert np.array_equal(found, expected)
    assert np.array_equal(components.sizes[1:], np.bincount(expected.ravel())[1:])
    column = np.indices(volume.shape)[2]
    means = ndimage.mean(column, expected, range(1, count + 1))
    np.testing.assert_allclose(components.columns[1:], means, rtol=1e-12)


def test_a_component_that_meets_itself_in_another_slab_is_one():
    mask = np.zeros((40, 5, 9), bool)
    mask[:36, 2, 1] = mask[:36, 2, 7] = mask[35, 2, 1:8] = True  # two arms that join in slab 3
    mask[20:, 2, 4] = True
    assert find_components(mask).sizes.tolist() == [0, mask.sum()]


def test_slabs_of_a_mask_that_the_caller_changes_are_labelled_as_before(volume):
    components = find_components(volume)
    expected = [table[labels] for _, labels, table in components.slabs()]
    for (slices, labels, table), before in zip(components.slabs(), expected, strict=True):
        assert np.array_equal(table[labels], before)
        volume[slices] = False


def test_holes_that_lung_encloses_in_all_directions_are_filled():
    lung = np.zeros((40, 30, 30), bool)
    lung[1:-1, 2:-2, 2:-2] = True
    lung[10:30, 8:14, 8:14] = False  # enclosed
    lung[5:, 18:24, 18:24] = False  # open at the top
    lung[20, 18:24, 18:24] = True  # and a closed part of it
    before = lung.copy()
    filled = fill_holes(lung, lung[0].size)
    assert SMALL_HOLE * lung[0].size < 36
    expected = before.copy()
    expected[10:30, 8:14, 8:14] = expected[5:20, 18:24, 18:24] = True
    assert np.array_equal(filled, expected)


def test_random_holes_are_filled_as_in_the_whole_volume():
    rng = np.random.default_rng(1)
    lung = ndimage.gaussian_filter(rng.normal(size=(24, 40, 40)), 1) > -0.1
    in_slice = np.array([ndimage.binary_fill_holes(plane) & ~plane for plane in lung])
    components, count = ndimage.label(in_slice)
    open_ends = np.zeros_like(lung)
    outside = ~(lung | in_slice)
    open_ends[1:-1] = outside[:-2] | outside[2:]
    open_ends[0] = open_ends[-1] = True
    leaks = np.unique(components[in_slice & open_ends])
    expected = lung | (in_slice & ~np.isin(components, leaks))
    assert 3 < count - len(leaks) < count
    assert np.array_equal(fill_holes(lung.copy(), 1), expected)


def test_the_bounding_box_is_the_smallest_one(volume):
    volume[:20] = volume[:, :, :3] = False
    inside = np.argwhere(volume)
    box = bounding_box(volume)
    assert [side.start for side in box] == inside.min(0).tolist()
    assert [side.stop for side in box] == (inside.max(0) + 1).tolist()
    assert bounding_box(np.zeros((2, 3, 4), bool)) is None
