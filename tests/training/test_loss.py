import numpy as np
import pytest
import torch

from pleura.training.loss import recipe_loss, soft_dice_loss
from pleura.training.recipe import LossRecipe
from pleura.training.threshold import best_threshold


def test_cross_entropy_of_logits_equals_its_definition():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 1, 4, 4), torch.randint(0, 2, (2, 1, 4, 4)).float()
    p = torch.sigmoid(logits)
    by_hand = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    torch.testing.assert_close(recipe_loss(logits, targets, LossRecipe(), None), by_hand)


def test_cross_entropy_stays_finite_where_probabilities_would_round_to_0_and_1():
    logits, targets = torch.tensor([[[[500.0, -500.0]]]]), torch.tensor([[[[0.0, 0.0]]]])
    assert recipe_loss(logits, targets, LossRecipe(), None).item() == pytest.approx(250)


def test_weights_multiply_the_entropy_of_their_pixels():
    logits, targets = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    weights = torch.tensor([[[[1.0, 5.0]]]])
    weighted = recipe_loss(logits, targets, LossRecipe(), weights)
    assert weighted.item() == pytest.approx(3 * np.log(2))


def test_dice_loss_is_0_for_a_perfect_and_1_for_a_disjoint_mask():
    targets = torch.zeros(1, 1, 64, 64)
    targets[..., :32] = 1
    sure = 200 * targets - 100
    assert soft_dice_loss(sure, targets).item() == pytest.approx(0, abs=1e-6)
    assert soft_dice_loss(-sure, targets).item() == pytest.approx(1, abs=1e-3)
    recipe = LossRecipe(cross_entropy=0, dice=2)
    assert recipe_loss(-sure, targets, recipe, None).item() == pytest.approx(2, abs=2e-3)


def test_best_threshold_is_that_of_the_highest_mean_iou():
    reference = np.zeros((10, 10), np.uint8)
    reference[:5] = 1
    without_lung = np.zeros((10, 10), np.uint8)

    def cases(inside, outside):
        for mask in (reference, without_lung):
            yield np.where(mask, inside, outside).astype(np.float32), mask

    assert best_threshold(cases(0.32, 0.28)) == 0.3
    assert best_threshold(cases(1, 0)) == 0.5
    assert best_threshold(cases(0, 0)) == 0.5
