import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from pleura.evaluation.metrics import dice, iou
from pleura.evaluation.surface import (
    distance_metrics,
    largest_missed_area,
    surface,
    surface_distances,
)

SPACING = (3.0, 0.7, 1.1)


def box(shape, *sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_shifted_boxes_are_as_far_apart_as_they_were_shifted():
    first = box((30, 40, 50), (5, 15), (10, 20), (10, 30))
    second = box((30, 40, 50), (5, 15), (10, 20), (14, 34))
    found = distance_metrics(first, second, SPACING)
    assert found["hd"] == pytest.approx(4 * 1.1)
    assert 0 < found["assd"] < 4 * 1.1
    assert found["surface_dice_1"] < found["surface_dice_3"] < 1
    same = distance_metrics(first, first, SPACING)
    assert same["hd"] == same["hd95"] == same["assd"] == 0
    assert same["surface_dice_1"] == 1


def test_surface_is_what_touches_another_value_or_the_edge_by_a_side():
    mask = box((7, 7, 7), (1, 6), (1, 6), (1, 6))
    assert surface(mask).sum() == 5**3 - 3**3
    assert surface(np.ones((4, 4), bool)).sum() == 12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_distances_are_those_of_all_pairs_of_surface_voxels(seed, flat):
    rng = np.random.default_rng(seed)
    shape, spacing = ((9, 12), SPACING[1:]) if flat else ((6, 9, 12), SPACING)
    first, second = rng.random((2, *shape)) < 0.3
    if not first.any() or not second.any():
        return
    places = [np.argwhere(surface(mask)) * spacing for mask in (first, second)]
    table = cdist(*places)
    there, back = surface_distances(first, second, spacing)
    assert np.sort(there) == pytest.approx(np.sort(table.min(1)), abs=1e-4)
    assert np.sort(back) == pytest.approx(np.sort(table.min(0)), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_hausdorff_distance_is_that_of_itk(seed):
    """ITK takes all voxels of a mask: between solids apart, the same largest distance."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        low = rng.integers(1, 6, 3)
        high = low + rng.integers(2, 9, 3)
        masks.append(box((20, 20, 20), *zip(low, high, strict=True)))
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    itk = sitk.HausdorffDistanceImageFilter()
    itk.Execute(*images)
    found = distance_metrics(*masks, SPACING)["hd"]
    assert found >= itk.GetHausdorffDistance() - 1e-3
    if not (masks[0] & masks[1]).any():
        assert found == pytest.approx(itk.GetHausdorffDistance(), abs=1e-3)


def test_a_mask_alone_is_as_far_away_as_the_grid_is_wide():
    mask = box((10, 20, 30), (2, 4), (2, 4), (2, 4))
    for pair in ((mask, ~mask & mask), (mask & ~mask, mask)):
        found = distance_metrics(*pair, SPACING)
        assert found["hd"] == found["hd95"] == pytest.approx(np.hypot(np.hypot(30, 14), 33))
        assert found["surface_dice_3"] == 0


def test_largest_missed_area_piece_is_an_area_of_one_slice():
    reference = box((4, 30, 30), (0, 4), (5, 25), (5, 25))
    prediction = reference.copy()
    prediction[1, 10:14, 5:8] = False
    prediction[2, 10:12, 5:8] = False
    assert largest_missed_area(reference, prediction, SPACING) == pytest.approx(12 * 0.7 * 1.1)
    assert largest_missed_area(reference, reference, SPACING) == 0
    assert largest_missed_area(reference[1], prediction[1], (1.0, 1.0)) == 12


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(12))
def test_all_metrics_are_those_of_monai_on_random_shapes(seed):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    rng = np.random.default_rng(seed)
    shape, spacing = ((40, 50), SPACING[1:]) if seed % 2 else ((14, 40, 50), SPACING)
    first, second = (gaussian_filter(rng.random(shape), 2) > 0.5 for _ in range(2))
    ours = distance_metrics(first, second, spacing)
    both = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (second, first)]
    options = {"include_background": True, "spacing": spacing}
    theirs = {
        "hd": compute_hausdorff_distance(*both, **options),
        "hd95": compute_hausdorff_distance(*both, percentile=95, **options),
        "assd": compute_average_surface_distance(*both, symmetric=True, **options),
        **{
            f"surface_dice_{t}": compute_surface_dice(*both, [float(t)], **options)
            for t in (1, 2, 3)
        },
    }
    assert ours == pytest.approx({k: float(v) for k, v in theirs.items()}, abs=1e-4)
    assert dice(first, second) == pytest.approx(float(compute_dice(*both)))
    assert iou(first, second) == pytest.approx(float(compute_iou(*both)))
