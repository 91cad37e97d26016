"""The learning rate over a training."""

from __future__ import annotations

import math

from pleura.training.recipe import ScheduleRecipe


def learning_rate(recipe: ScheduleRecipe, epoch: int, step: int, epochs: int, steps: int) -> float:
    """Return the learning rate of a step; ``epoch`` and ``step`` count from 0.

    The exercise's formula is ``0.001 * 0.1 ** (epoch - 20)`` from epoch 20 on, so epoch 20 still
    has 0.001, and epoch 21 the first tenth of it.
    """
    if recipe.name == "constant":
        return recipe.learning_rate
    if recipe.name == "plateau-then-decay":
        return recipe.learning_rate * recipe.decay ** max(0, epoch - recipe.hold)
    done, total = epoch * steps + step, epochs * steps
    rise = round(recipe.warmup * total)
    if done < rise:
        return recipe.learning_rate * (done + 1) / rise
    fall = (done - rise) / (total - rise)
    return recipe.learning_rate * (1 + math.cos(math.pi * fall)) / 2
