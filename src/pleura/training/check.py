"""Check a data set, optionally with the predictions of a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.dataset.check_report import CheckReport, Finding
from pleura.dataset.checks import check_folders
from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.label_errors import PredictLung
from pleura.dataset.splits import SplitRecipe
from pleura.engine.engine import Engine, model_path
from pleura.errors import DataError, ModelError
from pleura.files.temporary import temporary_folder
from pleura.intensity.grey import to_grey
from pleura.masks.selection import (
    RoiSelection,
    check_roi,
    require_class_labels,
    selects_lungs,
)
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
        Recipe with the labels of the masks (`data.labels`) and their split, and of the
        cross-validation: its name, its file or a `Recipe`.
    roi:
        Structures or values of the masks to read, as for `read_mask`; None: those of the recipe
        (`data.roi`).

    Raises
    ------
    ValueError
        Both ``model`` and ``folds`` are given.
    """

    model: StrPath | None = None
    folds: int | None = None
    recipe: Recipe | StrPath = "quick"
    roi: RoiSelection | None = None

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
        The model cannot be read, or takes grey values of an unknown window.
    RecipeError
        The recipe is invalid.
    """
    options = options or CheckOptions()
    data, split = _data_of(options)
    if data.labels:
        report = check_folders(images, masks, progress=progress, data=data, split=split)
        if data.lungs is None:
            return report
        from pleura.training.lung_check import with_lung_findings
        from pleura.training.recipe_loading import load_recipe

        recipe = options.recipe
        recipe = load_recipe(recipe) if isinstance(recipe, str | os.PathLike) else recipe
        recipe = recipe.model_copy(update={"data": data})
        return with_lung_findings(report, recipe, progress)
    if options.model is not None:
        predict = _predict_with(model_path(options.model))
        report = check_folders(images, masks, predict=predict, progress=progress, data=data)
        return _with_comparison(report)
    if options.folds is None:
        return check_folders(images, masks, progress=progress, data=data)
    before = _with_comparison(check_folders(images, masks, data=data))
    if not before.is_convertible:
        return before
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.fold_training import cross_validated_prediction
    from pleura.training.recipe_loading import load_recipe

    recipe = options.recipe
    if isinstance(recipe, str | os.PathLike):
        recipe = load_recipe(recipe)
    recipe = recipe.model_copy(update={"data": data})
    with temporary_folder() as folder:
        predict = cross_validated_prediction(
            Path(images),
            Path(masks),
            recipe,
            options.folds,
            folder,
            TrainingCallbacks(on_step=_count_steps(training_progress, options.folds)),
        )
        return check_folders(images, masks, predict=predict, progress=progress, data=data)


def _data_of(options: CheckOptions) -> tuple[DataRecipe, SplitRecipe | None]:
    """Return the data section of the recipe, and its split.

    Raises
    ------
    DataError
        The masks are not of lungs and are to be compared with a model, or a structure is selected
        as an unknown class.
    """
    roi, recipe = options.roi, options.recipe
    data, split = DataRecipe(), None
    if recipe != "quick":
        from pleura.training.recipe_loading import load_recipe

        recipe = load_recipe(recipe) if isinstance(recipe, str | os.PathLike) else recipe
        data, split = recipe.data, recipe.split
    if roi is not None:
        if data.labels:
            require_class_labels(roi, data.classes)
        selected = roi if isinstance(roi, str) else check_roi(roi)
        data = data.model_copy(update={"roi": selected})
    compares = options.model is not None or options.folds is not None
    if compares and (data.labels or not selects_lungs(data.roi)):
        raise DataError(
            "only masks of lungs can be compared with a model",
            where="recipe key data.labels" if data.labels else "--roi or recipe key data.roi",
            hint="omit --model and --cross-validate; `pleura evaluate` scores other structures",
        )
    return data, split


def _predict_with(model: Path) -> PredictLung:
    """Return a function that predicts images in HU with a model file.

    Raises
    ------
    ModelError
        The file cannot be read, or takes grey values of an unknown window.
    """
    engine = Engine(model)
    if engine.metadata.classes:
        raise ModelError(
            "the model has several classes, but masks of lungs are compared",
            where=model,
            hint="pass a model of lungs, such as `default`",
        )
    if engine.metadata.context.slices:
        raise ModelError(
            "the model takes neighbouring slices, but masks are compared with single slices",
            where=model,
            hint="pass a model of single slices, such as `default`",
        )
    window = engine.metadata.window
    if engine.metadata.input == "HU":
        return lambda _, hu: engine.probability(hu)
    if window is None:
        raise ModelError(
            "the model takes grey values of an unknown window, but masks are compared in HU",
            where=model,
            hint="pass a model for HU, such as `default`",
        )
    low, high = window
    return lambda _, hu: engine.probability(to_grey(hu, low, high))


def _with_comparison(report: CheckReport) -> CheckReport:
    """Add a finding if the images have no known conversion to HU, and no mask was compared."""
    if report.is_convertible:
        return report
    finding = Finding(
        "warning",
        "label errors",
        "no mask was compared with a model, because the units have no known conversion to HU",
        (),
        "compare the masks with the predictions of your own run: pleura evaluate",
    )
    return replace(report, findings=(*report.findings, finding))


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
