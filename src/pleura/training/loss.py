"""Loss functions of logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pleura.training.recipe import LossRecipe

AllReduce = Callable[[Tensor], Tensor]
"""Returns the sum of a tensor over all processes."""


def _identity(value: Tensor) -> Tensor:
    return value


def recipe_loss(
    logits: Tensor,
    targets: Tensor,
    recipe: LossRecipe,
    weights: Tensor | None,
    all_reduce: AllReduce = _identity,
) -> Tensor:
    """Compute the loss of a recipe.

    Parameters
    ----------
    logits, targets:
        float32 (n, 1, h, w); targets are in [0, 1].
    recipe:
        Weights of cross-entropy and Dice loss.
    weights:
        (n, 1, h, w), weights of the cross-entropy of each pixel; None is 1 for each.
    all_reduce:
        Sums over the processes that share the batch.

    Returns
    -------
    Tensor
        The loss, a scalar.
    """
    loss = logits.new_zeros(())
    if recipe.cross_entropy:
        entropy = F.binary_cross_entropy_with_logits(logits, targets, weights)
        loss = loss + recipe.cross_entropy * entropy
    if recipe.dice:
        loss = loss + recipe.dice * soft_dice_loss(logits, targets, all_reduce)
    return loss


def soft_dice_loss(logits: Tensor, targets: Tensor, all_reduce: AllReduce = _identity) -> Tensor:
    """Compute 1 - Dice of probabilities and targets, over the batch.

    The batch and not each image, because the Dice coefficient of an image without lung is 0 or 1.

    Parameters
    ----------
    logits, targets:
        float32 (n, 1, h, w); targets are in [0, 1].
    all_reduce:
        Sums over the processes that share the batch.

    Returns
    -------
    Tensor
        The loss, a scalar.

    References
    ----------
    Milletari et al., V-Net: fully convolutional neural networks for volumetric medical image
    segmentation, 3DV 2016.
    """
    probability = torch.sigmoid(logits)
    overlap = all_reduce(2 * (probability * targets).sum())
    total = all_reduce(probability.square().sum() + targets.square().sum())
    return 1 - (overlap + 1) / (total + 1)
