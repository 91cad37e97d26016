"""Trainings of the networks of a cross-validation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.folds import assign_folds
from pleura.dataset.label_errors import PredictLung
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import Split
from pleura.engine.engine import Engine
from pleura.errors import DataWarning
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import Run
from pleura.training.settings_record import is_started
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
        Its split, sources and labels are ignored.
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
    data = DataRecipe(roi=recipe.data.roi)
    recipe = recipe.model_copy(update={"data": data, "split": SplitRecipe()})
    folds = assign_folds(find_pairs(images, masks), count, recipe.split, images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # `check` reports the same
        runs = train_folds(
            images, masks, folder, recipe, folds.splits(), TrainingOptions(), callbacks
        )
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
    splits: Sequence[Split],
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
    for i, split in enumerate(splits):
        run, path = folder / f"fold-{i + 1}", folder / f"fold-{i + 1}.csv"
        if not is_started(run):
            split.write(path)
        fold_recipe = _fold_recipe(recipe, path)
        runs.append(train_or_resume(images, masks, run, fold_recipe, options, callbacks))
        if not runs[-1].finished:
            break
        _logger.info("Trained fold %d of %d", i + 1, len(splits))
    return runs


def train_or_resume(
    images: Path,
    masks: Path,
    folder: Path,
    recipe: Recipe,
    options: TrainingOptions,
    callbacks: TrainingCallbacks | None = None,
) -> Run:
    """Train a run; resume it if it has started, with its own recipe; return it if it is finished.

    Returns
    -------
    Run
        The run, which is not finished if the training was interrupted.
    """
    callbacks = callbacks or TrainingCallbacks()
    if is_started(folder):
        resumed = TrainingOptions(progress=options.progress)
        return resume(images, masks, folder, options=resumed, callbacks=callbacks)
    options = replace(options, overwrite=True)
    return train(images, masks, folder, recipe, options=options, callbacks=callbacks)


def _fold_recipe(recipe: Recipe, split: Path) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["split"] = {
        "method": "file",
        "file": str(split.absolute()),
        "duplicates": "exclude",
        "exclude": list(recipe.split.exclude),
    }
    values["data"]["sources"] = []
    # For several classes, thresholds of few patients are less accurate than none (experiment 56).
    values["evaluation"]["tune_threshold"] |= not recipe.data.labels
    return build_recipe(values, recipe.name)
