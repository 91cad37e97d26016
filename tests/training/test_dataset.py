import pytest
import torch
from torch.utils.data import DataLoader

import pleura
from pleura.training.recipe_loading import override_recipe


@pytest.fixture(scope="module")
def dataset(sample, tiny):
    return pleura.SegmentationDataset((sample.images, sample.masks), tiny)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_items_are_tensors_on_the_grid_of_the_recipe(dataset):
    assert len(dataset) == len(dataset.names) == 32
    for tensor in dataset[0]:
        assert tensor.shape == (1, 32, 32)
        assert tensor.dtype == torch.float32
    assert equal(dataset[-1], dataset[31])
    assert repr(dataset) == "SegmentationDataset(training; 32 pairs of 32x32)"
    with pytest.raises(IndexError):
        dataset[32]


def test_augmentation_is_a_function_of_epoch_and_index(dataset, sample, tiny):
    first = dataset[3]
    assert equal(first, dataset[3])
    dataset.set_epoch(1)
    second = dataset[3]
    dataset.set_epoch(0)
    assert not equal(first, second)
    assert equal(first, dataset[3])
    folders = sample.images, sample.masks
    assert equal(pleura.SegmentationDataset(folders, tiny, epoch=1)[3], second)
    other_seed = override_recipe(tiny, ["training.seed=9"])
    assert not equal(pleura.SegmentationDataset(folders, other_seed)[3], first)


def test_other_subsets_are_not_augmented(sample, tiny):
    for subset, count in (("validation", 8), ("test", 20)):
        dataset = pleura.SegmentationDataset((sample.images, sample.masks), tiny, subset)
        assert len(dataset) == count
        first = dataset[0]
        dataset.set_epoch(5)
        assert equal(first, dataset[0])


def test_pairs_are_split_as_folders_are(sample, tiny, dataset):
    pairs = pleura.find_pairs(sample.images, sample.masks)
    from_pairs = pleura.SegmentationDataset(pairs, tiny)
    assert from_pairs.names == dataset.names
    assert equal(from_pairs[0], dataset[0])


def test_persistent_workers_use_the_epoch_that_is_set(dataset):
    loader = DataLoader(dataset, batch_size=8, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        dataset.set_epoch(epoch)
        images, masks = next(iter(loader))
        assert images.shape == masks.shape == (8, 1, 32, 32)
        assert torch.equal(images[3], dataset[3][0])
    dataset.set_epoch(0)
