"""Scans of unusual sizes: large matrices, volumes one voxel thin, and many slices."""

import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.geometry import Geometry
from pleura.scan.scan import ReadOnce, Scan
from pleura.segmentation.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter():
    with Segmenter() as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def volume(sample):
    """HU and lungs (65, 128, 128) and the affine of a real scan."""
    folder = sample.folder / "volume"
    scan = read(folder / "ct.nii.gz")
    return scan.hu(), read(folder / "lungs.nii.gz", units="hu").values() > 0, scan.geometry.affine


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def scan_of(hu, affine):
    return Scan("scan", Geometry(hu.shape, affine), ReadOnce(lambda: hu))


@pytest.mark.parametrize("side", [1024, 1280])
def test_a_large_matrix_has_the_mask_of_the_scan(side, volume, segmenter):
    hu, lung, affine = volume
    index = np.arange(side) * 128 // side
    grid = np.ix_([28, 30, 32], index, index)
    scaled = affine @ np.diag([2, 128 / side, 128 / side, 1])
    found = segmenter(scan_of(hu[grid], scaled))
    assert found.labels.shape == (3, side, side)
    assert dice(found.labels > 0, lung[grid]) > 0.93
    assert set(np.unique(found.labels)) == {0, 1, 2}


@pytest.mark.slow
def test_2000_slices_have_the_masks_of_their_originals(volume, segmenter):
    hu, lung, affine = volume
    slices = np.arange(2000) * len(hu) // 2000
    found = segmenter(scan_of(hu[slices], affine @ np.diag([len(hu) / 2000, 1, 1, 1])))
    assert found.labels.shape == (2000, 128, 128)
    assert dice(found.labels > 0, lung[slices]) > 0.93


def test_a_single_axial_slice_of_a_volume_is_segmented(volume, segmenter):
    hu, lung, affine = volume
    found = segmenter(scan_of(hu[30:31], affine))
    assert dice(found.labels > 0, lung[30:31]) > 0.93


@pytest.mark.parametrize("axis", [1, 2])
def test_a_volume_of_one_row_or_column_is_refused(axis, volume, segmenter):
    hu, _, affine = volume
    thin = hu.take([64], axis)
    with pytest.raises(ScanError, match="an axial slice of this scan has") as error:
        segmenter(scan_of(thin, affine))
    assert "16x16" in error.value.hint


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_thin_array_is_segmented_or_refused(axis, segmenter):
    hu = np.random.default_rng(0).normal(-400, 500, (40, 40, 40)).astype(np.int16).take([20], axis)
    scan = from_array(hu, spacing=(1, 1, 1), units="hu")
    if axis == 0:
        assert segmenter(scan).labels.shape == hu.shape
    else:
        with pytest.raises(ScanError, match="axial slice"):
            segmenter(scan)
