import numpy as np
import pytest

from pleura.dataset.augmentation import Augmentation, apply_spatial_transform
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing
from pleura.dataset.simulation import Simulation
from pleura.dataset.training_set import SimulatedSet

STILL = Augmentation(shift=0, rotation=0, zoom=(1, 1), anisotropy=1)
MOVING = Augmentation(
    shift=0.1,
    rotation=20,
    zoom=(0.7, 1.4),
    anisotropy=1.2,
    full_rotation_probability=0.3,
    elastic=0.02,
)
NOTHING = Simulation(**dict.fromkeys(Simulation.model_fields, 0.0))
GRID = Preprocessing(
    scaling="window",
    window=(-1024, 600),
    size=(64, 64),
    image_interpolation="area",
    mask_interpolation="area",
)


@pytest.fixture(scope="module")
def pairs(sample):
    return [p for p in find_pairs(sample.images, sample.masks) if "201_05" in p.name]


def test_unchanged_images_are_as_prepared_for_prediction(pairs):
    from pleura.dataset.preprocessing import preprocess_pairs

    drawn = SimulatedSet(pairs, GRID, STILL, NOTHING).sample_batch(
        np.arange(len(pairs)), np.random.default_rng(0)
    )
    prepared = preprocess_pairs(pairs, GRID)
    assert np.abs(drawn[0] - prepared.images).max() < 0.002
    assert np.abs(drawn[1] - prepared.masks).max() < 0.01


def test_a_batch_can_be_drawn_again(pairs):
    images = SimulatedSet(pairs, GRID, MOVING, Simulation())
    first, second = (images.sample_batch(np.arange(2), np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert first[0].shape == (2, 64, 64)
    assert first[0].dtype == first[1].dtype == np.float32
    assert first[0].min() >= 0
    assert first[0].max() <= 1


def test_image_and_mask_are_moved_alike():
    image = np.full((80, 90), -1000, np.float32)
    image[20:50, 30:60] = 500
    mask = (image > 0).astype(np.float32)
    for seed in range(20):
        moved, kept = apply_spatial_transform(
            image, mask, MOVING, np.random.default_rng(seed), -1000
        )
        assert np.abs((moved + 1000) / 1500 - kept).max() < 1e-3
    assert not np.array_equal(moved, image)
