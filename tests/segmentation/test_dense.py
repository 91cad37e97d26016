import cv2
import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.formats.image_files import read_image_file
from pleura.formats.images import from_array
from pleura.scan.labels import LEFT, RIGHT
from pleura.segmentation.dense import count_added, include_dense
from pleura.segmentation.postprocessing import HU_STEP
from pleura.segmentation.segmenter import Segmenter

SHAPE = 3, 128, 128


def box(*corners):
    """Return a mask (slices, rows, columns) of boxes (top, bottom, left, right)."""
    mask = np.zeros(SHAPE, np.bool_)
    for top, bottom, left, right in corners:
        mask[:, top:bottom, left:right] = True
    return mask


RIGHT_LUNG, LEFT_LUNG = (30, 70, 20, 50), (30, 100, 80, 110)
LUNGS = box(RIGHT_LUNG, LEFT_LUNG)
SOFT = np.full((3, 128 // HU_STEP, 128 // HU_STEP), 40, np.int16)


def included(space, hu=SOFT):
    mask = include_dense(LUNGS, space, hu)
    assert (mask & LUNGS).sum() == LUNGS.sum()
    return mask & ~LUNGS


def test_dense_part_beside_aerated_lung_is_added():
    base = box((70, 100, 20, 50))
    assert np.array_equal(included(LUNGS | base), base)
    assert np.array_equal(included(base), base)


def test_border_of_another_model_is_not_added():
    assert not included(box((29, 71, 18, 52), (28, 101, 79, 111))).any()
    around_and_below = box((29, 70, 19, 51), (70, 100, 20, 50), LEFT_LUNG)
    added = included(around_and_below)
    assert added[:, 74:100, 20:50].all()
    assert not added[:, :60].any()


def test_separate_part_is_added_only_if_it_is_a_missing_lung():
    assert not included(LUNGS | box((104, 124, 25, 75))).any()
    lung, missing = box(LEFT_LUNG), box((30, 100, 20, 50))
    assert np.array_equal(include_dense(lung, lung | missing, SOFT), lung | missing)
    small = box((30, 45, 20, 30))
    assert np.array_equal(include_dense(lung, lung | small, SOFT), lung)


def test_fluid_in_place_of_a_lung_is_not_added():
    lung, missing = box(LEFT_LUNG), box((30, 100, 20, 50))
    assert np.array_equal(include_dense(lung, lung | missing, SOFT - 25), lung)


def test_nothing_is_added_without_lung():
    none = np.zeros(SHAPE, np.bool_)
    assert not include_dense(none, LUNGS, SOFT).any()


def test_small_part_is_not_added():
    assert not included(LUNGS | box((70, 73, 30, 32))).any()


def test_gas_beside_the_lung_is_not_added():
    stomach = box((70, 100, 20, 50))
    gas = SOFT.copy()
    gas[:, 17:26, 4:14] = -1000
    assert not included(LUNGS | stomach, gas).any()
    assert included(LUNGS | stomach, SOFT).any()


def test_vessel_in_an_added_part_is_filled():
    vessel = box((80, 82, 30, 32))
    assert included(box((70, 100, 20, 50)) & ~vessel)[vessel].all()


def test_added_voxels_are_counted_by_side():
    labels = RIGHT * box((30, 100, 20, 50)).astype(np.uint8) + LEFT * box(LEFT_LUNG)
    assert count_added(labels, LUNGS, sides=True) == {"right": 3 * 30 * 30, "left": 0}
    assert count_added(np.minimum(labels, 1), LUNGS, sides=False) == {"lung": 3 * 30 * 30}


@pytest.fixture(scope="module")
def consolidated(sample):
    """A slice whose right lower lobe is consolidated, as a scan, and its reference mask."""
    hu = read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.float32)
    mask = read_image_file(sample.masks / "LCTSC-201_058.tif") > 0
    rows, columns = np.indices(hu.shape)
    lobe = mask & (columns < 128) & (rows > np.quantile(rows[mask], 0.4))
    around = cv2.dilate(lobe.astype(np.uint8), np.ones((5, 5))) > 0
    dense = np.random.default_rng(0).normal(45, 12, hu.shape)
    hu = np.where(lobe | (around & ~mask & (hu < -150)), cv2.GaussianBlur(dense, (0, 0), 0.7), hu)
    scan = from_array(hu.round().astype(np.int16), spacing=(1.95, 1.95), units="hu")
    return scan, mask, lobe


def test_model_adds_a_consolidated_lobe(consolidated):
    scan, mask, lobe = consolidated
    with Segmenter(dense="include") as segmenter:
        result = segmenter.segment(scan, warn=False)
    with Segmenter() as segmenter:
        without = segmenter.segment(scan, warn=False)
    include, exclude = result.labels[0] > 0, without.labels[0] > 0
    assert not (exclude & ~include).any()
    assert (exclude & lobe).sum() < 0.3 * lobe.sum()
    assert (include & lobe).sum() > 0.6 * lobe.sum()
    assert (include & ~mask).sum() < 0.06 * mask.sum()
    added = result.dense_voxels
    assert added["right"] > 0.4 * lobe.sum()
    assert added["left"] < 0.03 * mask.sum()
    assert without.dense_voxels is None


def test_report_states_the_added_volume(consolidated, tmp_path):
    scan, _, _ = consolidated
    volume = 1.95 * 1.95 / 1000
    with Segmenter(dense="include") as segmenter:
        result = segmenter.segment(scan, warn=False)
    report = result.to_dict()
    expected = {side: round(n * volume, 1) for side, n in result.dense_voxels.items()}
    assert report["dense_added_ml"] == expected
    (decision,) = (d for d in report["decisions"] if d["topic"] == "dense lung")
    assert decision["choice"] == "included"
    assert f"right {result.dense_voxels['right'] * volume:.0f} ml" in decision["reason"]


def test_grey_values_are_refused_before_inference(sample):
    picture = read_image_file(sample.images / "LCTSC-201_058.tif")
    grey = np.clip((picture + 1000) / 6, 0, 255).astype(np.uint8)
    with Segmenter(dense="include") as segmenter:
        with pytest.raises(ScanError, match="in HU only") as error:
            segmenter.segment(from_array(grey, units="grey"))
        assert "--dense exclude" in error.value.hint
