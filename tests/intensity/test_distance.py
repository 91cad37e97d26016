import cv2
import numpy as np
import pytest

from pleura.intensity.levels import _chamfer_distance


@pytest.mark.parametrize("seed", range(20))
def test_chamfer_distance_equals_opencv(seed):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=rng.integers(8, 80, 2)), (0, 0), 3)
    mask = noise > np.quantile(noise, rng.uniform(0, 0.6))
    expected = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
    np.testing.assert_allclose(_chamfer_distance(mask), expected[1:-1, 1:-1], atol=1e-4)
