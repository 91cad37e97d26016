import cv2
import numpy as np
import pytest
import torch

from pleura.dataset.preparation import Preparation, prepare_image, restore
from pleura.network.tiling import SegmentationNetwork
from pleura.training.export import Deployed, area_matrix, lanczos_matrix

SIZES = [(512, 128), (512, 192), (500, 128), (300, 192), (90, 128), (128, 128)]


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_area_matrix_averages_as_opencv_does(size, to):
    row = np.random.default_rng(0).random((1, size), np.float32)
    how = cv2.INTER_AREA if to <= size else cv2.INTER_LINEAR
    expected = cv2.resize(row, (to, 1), interpolation=how)[0]
    found = area_matrix(to, size) @ torch.from_numpy(row[0])
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_lanczos_matrix_weighs_as_opencv_does(size, to):
    row = np.random.default_rng(0).random((1, size), np.float32)
    expected = cv2.resize(row, (to, 1), interpolation=cv2.INTER_LANCZOS4)[0]
    found = lanczos_matrix(to, size) @ torch.from_numpy(row[0])
    np.testing.assert_allclose(found, expected, atol=2e-3)


class Contrast(SegmentationNetwork):
    """A network that shows whatever it is given."""

    margin, multiple = 0, 1

    def forward(self, x):
        return 8 * x - 3


@pytest.mark.parametrize("scaling", ["window", "max", "minmax"])
@pytest.mark.parametrize("interpolation", ["area", "lanczos"])
@pytest.mark.parametrize("masks", ["area", "nearest"])
def test_graph_is_the_way_of_the_predictor(scaling, interpolation, masks):
    preparation = Preparation(
        scaling=scaling,
        window=(-1000, 400),
        size=(64, 96),
        image_interpolation=interpolation,
        mask_interpolation=masks,
    )
    network = Contrast()
    rng = np.random.default_rng(1)
    hu = cv2.GaussianBlur(rng.normal(-400, 8000, (160, 200)), (0, 0), 4).astype(np.int16)
    with torch.inference_mode():
        found = Deployed(network, preparation)(torch.from_numpy(hu[None]))[0].numpy()
        prepared = torch.from_numpy(prepare_image(hu, preparation)[None, None])
        logits = network(prepared)[0, 0]
    expected = restore(torch.sigmoid(logits).numpy(), hu.shape, preparation)
    assert np.ptp(expected) > 0.05
    assert np.abs(found / 255 - expected).max() < 0.01
