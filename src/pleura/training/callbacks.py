"""Functions that a training calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from pleura.training.history import Epoch
from pleura.training.run import Run
from pleura.typing import Progress


@dataclass(frozen=True)
class StepReport:
    """State of a training after a step; ``loss`` and ``accuracy`` are means over the epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class TrainingCallbacks:
    """Functions called during a training, all optional; none changes the result.

    The sum of two callbacks calls both, in order.

    Parameters
    ----------
    on_read:
        Called with the number of images that are read, and of all images.
    on_step:
        Called after each step.
    on_epoch:
        Called after each epoch, with the values of its row in the history.
    on_start:
        Called with the run before the first step, also if the training is resumed.
    on_end:
        Called with the run after the last step, also if the training was interrupted or failed;
        then the run is not ``finished``.
    """

    on_read: Progress | None = None
    on_step: Callable[[StepReport], None] | None = None
    on_epoch: Callable[[Epoch], None] | None = None
    on_start: Callable[[Run], None] | None = None
    on_end: Callable[[Run], None] | None = None

    def __add__(self, other: TrainingCallbacks) -> TrainingCallbacks:
        if not isinstance(other, TrainingCallbacks):
            return NotImplemented
        names = [field.name for field in fields(self)]
        return TrainingCallbacks(
            **{name: _chain(getattr(self, name), getattr(other, name)) for name in names}
        )


def _chain(
    first: Callable[..., None] | None, second: Callable[..., None] | None
) -> Callable[..., None] | None:
    if first is None or second is None:
        return first or second

    def both(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return both
