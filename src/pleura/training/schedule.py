"""Learning rate schedules."""

from __future__ import annotations

import math

from pleura.training.recipe import ScheduleRecipe


def cycle_ends(recipe: ScheduleRecipe, epochs: int) -> list[int]:
    """Return the epochs, counted from 1, after which a cycle ends."""
    return [*(restart for restart in recipe.restarts if restart < epochs), epochs]


def learning_rate(recipe: ScheduleRecipe, epoch: int, step: int, epochs: int, steps: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    recipe:
        The schedule.
    epoch, step:
        Counted from 0.
    epochs, steps:
        Number of epochs, and of steps per epoch.
    """
    if recipe.name == "constant":
        return recipe.learning_rate
    if recipe.name == "exponential":
        # The exercise has 0.001 * 0.1 ** (epoch - 20) from epoch 20 on: epoch 20 has the full rate.
        return recipe.learning_rate * recipe.gamma ** max(0, epoch - recipe.decay_after)
    end = next(end for end in cycle_ends(recipe, epochs) if epoch < end)
    begin = max(restart for restart in (0, *recipe.restarts) if restart <= epoch)
    highest = recipe.learning_rate / (2 if begin else 1)
    done, total = (epoch - begin) * steps + step, (end - begin) * steps
    rise = round(recipe.warmup_fraction * total)
    if done < rise:
        return highest * (done + 1) / rise
    fall = (done - rise) / (total - rise)
    return highest * (1 + math.cos(math.pi * fall)) / 2
