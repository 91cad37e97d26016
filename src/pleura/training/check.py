"""Check a data set, optionally with the predictions of a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.dataset.check_report import CheckReport
from pleura.dataset.checks import check_folders
from pleura.engine.engine import Engine, model_path
from pleura.files.temporary import temporary_folder
from pleura.typing import Progress, StrPath

if TYPE_CHECKING:
    from pleura.training.callbacks import StepReport
    from pleura.training.recipe import Recipe


@dataclass(frozen=True)
class CheckOptions:
    """What the masks of a data set are compared with, besides their images.

    Parameters
    ----------
    model:
        A model file, or the name of a model that ships, such as ``default``.
    folds:
        Number of folds of a cross-validation: each mask is compared with the prediction of a
        network that was not trained on it. As slow as this number of trainings.
    recipe:
        Recipe of the cross-validation: its name, its file or a `Recipe`.

    Raises
    ------
    ValueError
        Both ``model`` and ``folds`` are given.
    """

    model: StrPath | None = None
    folds: int | None = None
    recipe: Recipe | StrPath = "quick"

    def __post_init__(self) -> None:
        if self.model is not None and self.folds is not None:
            raise ValueError("model and folds exclude each other")


def check(
    images: StrPath,
    masks: StrPath,
    options: CheckOptions | None = None,
    *,
    progress: Progress | None = None,
    training_progress: Progress | None = None,
) -> CheckReport:
    """Check the images and masks of two folders before training.

    The check covers names, sizes, values, intensity units, duplicates and label errors.

    Parameters
    ----------
    images, masks:
        Folders of image files or volumes, paired by name.
    options:
        Whether the masks are also compared with the predictions of a model.
    progress:
        Called with the number of pairs that were read, and of all pairs.
    training_progress:
        Called with the number of training steps that were done, and of all steps, of all folds.

    Returns
    -------
    CheckReport
        Unreadable files are among its findings.

    Raises
    ------
    DataError
        A folder is unreadable or contains no image, or there are too few images for the folds.
    ModelError
        The model cannot be read.
    RecipeError
        The recipe is invalid.
    """
    options = options or CheckOptions()
    if options.model is not None:
        engine = Engine(model_path(options.model))
        return check_folders(
            images, masks, predict=lambda _, hu: engine.probability(hu), progress=progress
        )
    if options.folds is None:
        return check_folders(images, masks, progress=progress)
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.cross_validation import cross_validate
    from pleura.training.recipe_loading import load_recipe

    recipe = options.recipe
    if isinstance(recipe, str | os.PathLike):
        recipe = load_recipe(recipe)
    with temporary_folder() as folder:
        predict = cross_validate(
            Path(images),
            Path(masks),
            recipe,
            options.folds,
            folder,
            TrainingCallbacks(on_step=_count_steps(training_progress, options.folds)),
        )
        return check_folders(images, masks, predict=predict, progress=progress)


def _count_steps(progress: Progress | None, folds: int) -> Callable[[StepReport], None] | None:
    """Return a callback that reports the steps of all trainings as one progress."""
    if progress is None:
        return None
    done = 0

    def on_step(step: StepReport) -> None:
        nonlocal done
        done += 1
        progress(done, folds * step.epochs * step.steps)

    return on_step
