"""Loss functions of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        float32 (n, 1, h, w); targets are in [0, 1]. With several classes, float32 (n, classes, h,
        w) and int64 (n, h, w), class indices; if they may overlap, both float32 (n, classes, h, w).
    recipe:
        Weights of cross-entropy and Dice loss.
    weights:
        (n, 1, h, w), weights of the cross-entropy of each pixel; with several classes (classes,),
        weights of the cross-entropy of the pixels of each class. None is 1 for each. The
        cross-entropy of classes that may overlap is weighted in their pixels only.
    all_reduce:
        Sums over the processes that share the batch.

    Returns
    -------
    Tensor
        The loss, a scalar.
    """
    several = logits.shape[1] > 1
    exclusive = not targets.is_floating_point()
    loss = logits.new_zeros(())
    if recipe.cross_entropy:
        if several and exclusive:
            # The mean over pixels, not over weights: equal shares of a batch then have equal parts.
            entropy = F.cross_entropy(logits, targets, weights, reduction="none").mean()
        elif several:
            inside = None if weights is None else weights[:, None, None]
            entropy = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=inside)
        else:
            entropy = F.binary_cross_entropy_with_logits(logits, targets, weights)
        loss = loss + recipe.cross_entropy * entropy
    if recipe.dice:
        dice_loss = class_dice_loss if several else soft_dice_loss
        loss = loss + recipe.dice * dice_loss(logits, targets, all_reduce)
    return loss


def class_dice_loss(logits: Tensor, targets: Tensor, all_reduce: AllReduce = _identity) -> Tensor:
    """Compute the mean over classes, without background, of the soft Dice loss over the batch.

    Parameters
    ----------
    logits, targets:
        float32 (n, classes, h, w), and class indices, int64 (n, h, w). Of classes that may overlap,
        both float32 (n, classes, h, w), without background.
    all_reduce:
        Sums over the processes that share the batch.

    Returns
    -------
    Tensor
        The loss, a scalar.
    """
    if targets.is_floating_point():
        probability, inside = torch.sigmoid(logits), targets
    else:
        probability = torch.softmax(logits, 1)[:, 1:]
        indices = torch.arange(1, logits.shape[1], device=logits.device)
        inside = targets[:, None] == indices[:, None, None]  # (n, classes - 1, h, w)
    overlap = all_reduce(2 * (probability * inside).sum((0, 2, 3)))
    total = all_reduce(probability.square().sum((0, 2, 3)) + inside.sum((0, 2, 3)))
    return (1 - (overlap + 1) / (total + 1)).mean()


def class_weights(recipe: LossRecipe, names: Sequence[str]) -> Tensor | None:
    """Return the weights (classes,) of background and the named classes; None if all are 1."""
    if not recipe.class_weights:
        return None
    return torch.tensor([recipe.class_weights.get(name, 1.0) for name in ("background", *names)])


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
