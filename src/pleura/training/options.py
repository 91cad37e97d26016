"""Options of a training that are not part of its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from pleura.typing import StrPath


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `train` and `resume` that are not part of the recipe.

    Parameters
    ----------
    initial_weights:
        Run folder, model file, or ``default`` for the model of this package, whose weights are the
        initial weights; None for random ones. Not for `resume`.
    overwrite:
        Replace an existing run. Not for `resume`.
    progress:
        Show a progress bar and one line per epoch on standard error. None shows them in terminals
        and notebooks only.
    """

    initial_weights: StrPath | None = None
    overwrite: bool = False
    progress: bool | None = None
