"""Dice of each class over the pixels of the validation images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pleura.figures.curves import CLASS_DICE


class ClassDice:
    """Counts of pixels of each class, summed over batches.

    Parameters
    ----------
    names:
        Names of the classes without background.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._overlap = torch.zeros(len(names), dtype=torch.int64)
        self._total = torch.zeros(len(names), dtype=torch.int64)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits and targets as of `recipe_loss`."""
        if targets.is_floating_point():
            found, inside = logits > 0, targets > 0.5
            self._overlap += (found & inside).sum((0, 2, 3)).cpu()
            self._total += (found.sum((0, 2, 3)) + inside.sum((0, 2, 3))).cpu()
            return
        size = len(self._names) + 1
        predicted = logits.argmax(1)
        equal = targets[predicted == targets]
        counts = [
            torch.bincount(x.flatten(), minlength=size).cpu() for x in (equal, predicted, targets)
        ]
        self._overlap += counts[0][1:]
        self._total += (counts[1] + counts[2])[1:]

    def row(self) -> dict[str, float]:
        """Return the Dice of each class by column of the history; NaN for an absent class."""
        dice = 2 * self._overlap.double() / self._total
        return {f"{CLASS_DICE}{n}": float(d) for n, d in zip(self._names, dice, strict=True)}
