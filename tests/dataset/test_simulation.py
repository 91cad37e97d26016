import cv2
import numpy as np
import pytest

from pleura.dataset.simulation import Simulation, simulate, simulate_effect
from pleura.formats.image_files import read_image_file

NAMES = tuple(Simulation.model_fields)
IN_LUNG = ("disease", "missing_lung")


@pytest.fixture(scope="module")
def slice_(sample):
    hu = read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.float32)
    return hu, (read_image_file(sample.masks / "LCTSC-201_058.tif") > 0).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_each_fault_changes_values_and_keeps_shape_and_type(slice_, name):
    hu, mask = slice_
    changed = 0
    for seed in range(12):
        image, kept = simulate_effect(name, hu, mask, np.random.default_rng(seed))
        assert image.shape == kept.shape == hu.shape
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert set(np.unique(kept)) <= {0, 1}
        changed += not np.array_equal(image, hu)
        if name not in ("dense_disease", "missing_lung", "field_of_view"):
            assert np.array_equal(kept, mask)
    assert changed > 8


def test_the_same_draws_give_the_same_picture(slice_):
    first, second = (simulate(*slice_, Simulation(), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_disease_stays_inside_the_lungs(slice_):
    hu, mask = slice_
    for seed in range(30):
        image, _ = simulate_effect("disease", hu, mask, np.random.default_rng(seed))
        outside = (mask == 0) & (image != hu)
        assert not outside.any()


def test_dense_disease_removes_fluid_and_domes_from_the_mask(slice_):
    hu, mask = slice_
    volumes, dense = [], []
    for seed in range(40):
        image, kept = simulate_effect("dense_disease", hu, mask, np.random.default_rng(seed))
        removed = (mask > 0) & (kept == 0)
        assert np.array_equal(kept[mask == 0], mask[mask == 0])
        volumes.append(removed.mean())
        if removed.any():
            assert -30 < np.median(image[removed]) < 150
        else:
            dense.append(np.mean(image[mask > 0] > -100))
    assert 4 < np.count_nonzero(volumes) < 25
    assert np.median(dense) > 0.1
    assert max(dense) > 0.6


def test_dense_disease_leaves_no_dark_line_at_the_border(slice_):
    hu, mask = slice_
    outside = (mask == 0) & (hu < -200)
    seen = 0
    for seed in range(40):
        image, _ = simulate_effect("dense_disease", hu, mask, np.random.default_rng(seed))
        filled, rest = ((mask > 0) & condition for condition in (image > -100, image < -300))
        beside = [cv2.dilate(part.astype(np.uint8), np.ones((3, 3))) > 0 for part in (filled, rest)]
        border = outside & beside[0] & ~beside[1]
        seen += border.sum()
        assert (image[border] < -200).sum() <= 0.3 * border.sum() + 5
    assert seen > 500


def test_gas_stays_outside_the_lungs(slice_):
    hu, mask = slice_
    for seed in range(30):
        image, _ = simulate_effect("gas", hu, mask, np.random.default_rng(seed))
        assert np.array_equal(image[mask > 0], hu[mask > 0])


def test_a_lost_lung_is_lost_in_image_and_mask(slice_):
    hu, mask = slice_
    image, kept = simulate_effect("missing_lung", hu, mask, np.random.default_rng(1))
    lost = (mask > 0) & (kept == 0)
    assert 0.2 < lost.sum() / mask.sum() < 0.8
    assert np.median(image[lost]) > -50


def test_nothing_is_lung_where_nothing_was_scanned(slice_):
    hu, mask = (np.ascontiguousarray(x[60:196, 50:206]) for x in slice_)
    cut = 0
    for seed in range(20):
        image, kept = simulate_effect("field_of_view", hu, mask, np.random.default_rng(seed))
        gone = (mask > 0) & (kept == 0)
        assert len(np.unique(image[gone])) <= 1
        cut += bool(gone.any())
    assert cut > 3


def test_slices_without_lung_go_through_all_of_it(sample):
    hu = read_image_file(sample.images / "LCTSC-201_009.tif").astype(np.float32)
    certain = Simulation(**dict.fromkeys(NAMES, 1.0))
    for seed in range(10):
        image, kept = simulate(hu, np.zeros_like(hu), certain, np.random.default_rng(seed))
        assert np.isfinite(image).all()
        assert not kept.any()
