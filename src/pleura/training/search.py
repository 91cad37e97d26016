"""Search over recipe keys: one training per combination of values."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pleura.dataset.pairs import find_pairs
from pleura.errors import DataWarning, DivergedError
from pleura.evaluation.scores import ALL_LABELS
from pleura.files.atomic import write_text
from pleura.files.records import read_record
from pleura.names import printable
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.evaluation import evaluate
from pleura.training.fold_training import train_or_resume
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.training.run import Run, open_run, without_paths
from pleura.training.search_result import RecipeSearch, SearchTrial
from pleura.training.search_space import SearchOptions, describe_values, trial_recipes, trial_values
from pleura.training.settings_record import (
    hash_initial_weights,
    hash_pairs,
    is_started,
    write_settings,
)
from pleura.typing import StrPath

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchCallbacks:
    """Functions called during a search, all optional; none changes the result.

    Parameters
    ----------
    on_trial:
        Called with each finished trial, also if it was finished before.
    training:
        Functions called during each training.
    """

    on_trial: Callable[[SearchTrial], None] | None = None
    training: TrainingCallbacks = TrainingCallbacks()


def search_recipes(
    images: StrPath,
    masks: StrPath,
    output: StrPath,
    recipe: Recipe | StrPath | None,
    options: SearchOptions,
    *,
    callbacks: SearchCallbacks = SearchCallbacks(),
) -> RecipeSearch:
    """Train a run for each combination of values of recipe keys, and choose the best one.

    Trials are compared by their mean Dice on the validation images, on the grids of the images; the
    test images are not used. A training that diverges is a trial without scores.

    The same call continues an interrupted search: finished trials are not repeated, and the
    interrupted one is resumed. Ctrl-C (or SIGTERM) stops after the current step.

    Parameters
    ----------
    images, masks:
        Folders of the images and their masks.
    output:
        Folder to write: a run ``trial-N`` per trial, the table ``trials.csv``, and the best recipe
        as ``best.yaml``, with its split in ``split.csv``.
    recipe:
        Recipe, name of a recipe of this package, or YAML file, whose values are changed; None as
        for `train`.
    options:
        The keys and their values.
    callbacks:
        Functions called during the search.

    Returns
    -------
    RecipeSearch

    Raises
    ------
    DataError
        The data cannot be used.
    RecipeError
        A key or a value cannot be used; the error names the trial.
    RunError
        The folder contains other files, or a search with other data or settings.
    """
    images, masks, output = Path(images), Path(masks), Path(output)
    weights = options.initial_weights
    if recipe is None:
        recipe = load_recipe("exercise") if weights is None else fine_tuning_recipe(weights)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    values = trial_values(options)
    recipes = trial_recipes(recipe, values)
    space = {
        "grid": options.grid,
        "ranges": options.ranges,
        "linear_ranges": options.linear_ranges,
        "random": None if options.trials is None else options.seed,
    }
    pairs = find_pairs(images, masks, recipe.data.class_masks, recipe.data.roi)
    settings = {
        "format": 1,
        "data": hash_pairs(pairs),
        "recipe": recipe.model_dump(mode="json"),
        "initial_weights": hash_initial_weights(weights),
        "space": space,
    }
    write_settings(output / "search.json", settings, "search")
    training = TrainingOptions(weights, progress=options.progress)
    result, trained = RecipeSearch(output, len(recipes), ()), False
    for i, one in enumerate(recipes):
        folder = output / f"trial-{i + 1}"
        with warnings.catch_warnings():
            if trained:  # the data are the same
                warnings.simplefilter("ignore", DataWarning)
            trained = trained or not is_started(folder)
            run = _train(images, masks, folder, one, training, callbacks.training)
        if not (run.finished or run.record.get("diverged")):
            break
        trial = _evaluated(images, masks, run, i + 1, values[i])
        result = RecipeSearch(output, len(recipes), (*result.trials, trial))
        _write(result, recipes)
        _logger.info("Finished trial %d of %d", i + 1, len(recipes))
        if callbacks.on_trial is not None:
            callbacks.on_trial(trial)
    return result


def _train(
    images: Path,
    masks: Path,
    folder: Path,
    recipe: Recipe,
    options: TrainingOptions,
    callbacks: TrainingCallbacks,
) -> Run:
    """Train or resume a run; one that has diverged is returned, and its record states it."""
    if is_started(folder) and (run := open_run(folder)).record.get("diverged"):
        return run
    try:
        return train_or_resume(images, masks, folder, recipe, options, callbacks)
    except DivergedError as error:
        _logger.warning("%s", error)
        return open_run(folder).update(diverged=True)


def _evaluated(
    images: Path, masks: Path, run: Run, number: int, values: Mapping[str, Any]
) -> SearchTrial:
    """Return a trial with its scores on the validation images, which are computed once."""
    if run.record.get("diverged"):
        return SearchTrial(number, values, run, None, {}, {})
    content = read_record(run.folder / "evaluation-validation" / "evaluation.json")
    if not content:
        content = evaluate(run, images, masks, subset="validation").to_dict()
    metrics = {
        region: one["metrics"] for region, one in content["summary"].items() if one["metrics"]
    }
    if run.classes:
        metrics.pop(ALL_LABELS, None)
    dice, iou = (
        {region: float(one[name]["mean"]) for region, one in metrics.items()}
        for name in ("dice", "iou")
    )
    return SearchTrial(number, values, run, float(content["loss"]), dice, iou)


def _write(result: RecipeSearch, recipes: list[Recipe]) -> None:
    """Write the table of trials, and the best recipe."""
    write_text(result.folder / "trials.csv", result.to_csv())
    best = result.best
    if best is None:
        return
    shutil.copyfile(best.run.folder / "split.csv", result.folder / "split.csv")
    text = without_paths(recipes[best.number - 1]).to_yaml()
    values = printable(describe_values(best.values))
    comment = f"# Trial {best.number}, validation Dice {best.score:.4f}: {values}\n"
    write_text(result.folder / "best.yaml", comment + text)
