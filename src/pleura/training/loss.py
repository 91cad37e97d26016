"""Losses on logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pleura.training.recipe import LossRecipe

Summed = Callable[[Tensor], Tensor]


def _alone(value: Tensor) -> Tensor:
    return value


def recipe_loss(
    logits: Tensor,
    targets: Tensor,
    recipe: LossRecipe,
    weights: Tensor | None,
    summed: Summed = _alone,
) -> Tensor:
    """Return the recipe's loss of float32 logits against targets in [0, 1], both (n, 1, h, w).

    ``weights`` (n, 1, h, w) multiply the cross-entropy of each pixel; None weighs all alike.
    ``summed`` makes a part of a batch's sum the whole batch's, where processes share it.
    """
    loss = logits.new_zeros(())
    if recipe.cross_entropy:
        entropy = F.binary_cross_entropy_with_logits(logits, targets, weights)
        loss = loss + recipe.cross_entropy * entropy
    if recipe.dice:
        loss = loss + recipe.dice * soft_dice_loss(logits, targets, summed)
    return loss


def soft_dice_loss(logits: Tensor, targets: Tensor, summed: Summed = _alone) -> Tensor:
    """Return 1 - Dice of probabilities and targets over the whole batch.

    Squared sums as in Milletari, Navab, Ahmadi, "V-Net" (3DV 2016). Over the batch and not the
    image, so that an image without lung does not make it jump.
    """
    probability = torch.sigmoid(logits)
    overlap = summed(2 * (probability * targets).sum())
    total = summed(probability.square().sum() + targets.square().sum())
    return 1 - (overlap + 1) / (total + 1)
