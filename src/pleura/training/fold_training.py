"""Trainings of the networks of a cross-validation."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.folds import Folds, assign_folds
from pleura.dataset.label_errors import PredictLung
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.engine.engine import Engine
from pleura.errors import DataWarning
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import Run
from pleura.training.train import resume, train

_logger = logging.getLogger(__name__)


def cross_validated_prediction(
    images: Path,
    masks: Path,
    recipe: Recipe,
    count: int,
    folder: Path,
    callbacks: TrainingCallbacks | None = None,
) -> PredictLung:
    """Train one network per fold, and return a function that predicts with that of the fold.

    Parameters
    ----------
    images, masks:
        Folders of the data set.
    recipe:
        Its split and its data are ignored.
    count:
        Number of folds, at least 3.
    folder:
        Where the runs, the splits and the models are written.
    callbacks:
        Called during each training.

    Returns
    -------
    PredictLung
        Takes the name of a pair and its image in HU.

    Raises
    ------
    DataError
        The pairs cannot be read, or there are too few.
    KeyboardInterrupt
        A training was interrupted.
    """
    recipe = recipe.model_copy(update={"data": DataRecipe(), "split": SplitRecipe()})
    folds = assign_folds(find_pairs(images, masks), count, recipe.split, images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # `check` reports the same
        options = TrainingOptions(overwrite=True)
        runs = train_folds(images, masks, folder, recipe, folds, options, callbacks)
    if not all(run.finished for run in runs):
        raise KeyboardInterrupt
    engines = []
    for run in runs:
        model = run.folder.with_suffix(".onnx")
        export(run, model)
        engines.append(Engine(model))

    def predict(name: str, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        return engines[folds.fold_of[name]].probability(hu)

    return predict


def train_folds(
    images: Path,
    masks: Path,
    folder: Path,
    recipe: Recipe,
    folds: Folds,
    options: TrainingOptions,
    callbacks: TrainingCallbacks | None = None,
) -> list[Run]:
    """Train, resume or skip the network of each fold, until a training is interrupted.

    Returns
    -------
    list of Run
        The runs; only the last one may be not finished.
    """
    runs: list[Run] = []
    callbacks = callbacks or TrainingCallbacks()
    for fold in range(folds.count):
        run, split = folder / f"fold-{fold + 1}", folder / f"fold-{fold + 1}.csv"
        if is_started(run):
            resumed = TrainingOptions(progress=options.progress)
            runs.append(resume(images, masks, run, options=resumed, callbacks=callbacks))
        else:
            folds.split(fold).write(split)
            fold_recipe = _fold_recipe(recipe, split)
            runs.append(
                train(images, masks, run, fold_recipe, options=options, callbacks=callbacks)
            )
        if not runs[-1].finished:
            break
        _logger.info("Trained fold %d of %d", fold + 1, folds.count)
    return runs


def is_started(run: Path) -> bool:
    """Return whether a run can be resumed: its record is empty until then."""
    record = run / "run.json"
    return record.is_file() and record.stat().st_size > 0


def _fold_recipe(recipe: Recipe, split: Path) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["split"] = {
        "method": "file",
        "file": str(split.absolute()),
        "duplicates": "exclude",
        "exclude": list(recipe.split.exclude),
    }
    values["data"]["sources"] = []
    values["evaluation"]["tune_threshold"] = True
    return build_recipe(values, recipe.name)
