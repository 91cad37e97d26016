"""Functions that a training calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pleura.training.history import Epoch
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
    """Functions called during a training, all optional; none changes the result."""

    on_read: Progress | None = None
    on_step: Callable[[StepReport], None] | None = None
    on_epoch: Callable[[Epoch], None] | None = None
