"""Cross-validated predictions: every image is predicted by a network not trained on it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.label_errors import PredictLung
from pleura.dataset.pairs import Pair, find_pairs
from pleura.dataset.subsets import Split
from pleura.engine.engine import Engine
from pleura.errors import DataError, DataWarning
from pleura.names import counted
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.export import export
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe
from pleura.training.train import train

MIN_FOLDS = 3
"""One fold each for training, validation and prediction."""


def cross_validate(
    images: Path,
    masks: Path,
    recipe: Recipe,
    folds: int,
    folder: Path,
    callbacks: TrainingCallbacks | None = None,
) -> PredictLung:
    """Train one network per fold, and predict each image with the network not trained on it.

    The slices of a volume are in the same fold. Copies of an image are not used for training.

    Parameters
    ----------
    images, masks:
        Folders of the data set.
    recipe:
        Its split and its data sources are ignored.
    folds:
        Number of folds, at least 3; each needs two images or volumes.
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
    RunError
        The folder contains runs already.
    """
    pairs = find_pairs(images, masks)
    groups = list(dict.fromkeys(_group(pair) for pair in pairs))
    if folds < MIN_FOLDS or len(groups) < 2 * folds:
        raise DataError(
            f"cross-validation with {folds} folds is not possible with "
            f"{counted(len(groups), 'image')}",
            where=images,
            hint="choose 3 or more folds, with at least two images per fold",
        )
    fold_of_group = {group: i % folds for i, group in enumerate(groups)}
    fold_of_name = {pair.name: fold_of_group[_group(pair)] for pair in pairs}
    engines = []
    for fold in range(folds):
        run, split = folder / f"fold-{fold + 1}", folder / f"fold-{fold + 1}.csv"
        _split_by_fold(pairs, fold_of_name, fold, folds).write(split)
        values = recipe.model_dump(mode="json")
        values["split"] = {"method": "file", "file": str(split), "duplicates": "exclude"}
        values["data"] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # `check` reports the same
            train(
                images,
                masks,
                run,
                build_recipe(values, recipe.name),
                callbacks=callbacks or TrainingCallbacks(),
            )
        model = run.with_suffix(".onnx")
        export(run, model)
        engines.append(Engine(model))

    def predict(name: str, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        return engines[fold_of_name[name]].probability(hu)

    return predict


def _group(pair: Pair) -> str:
    return pair.group or str(pair.image)


def _split_by_fold(
    pairs: Sequence[Pair], fold_of_name: Mapping[str, int], fold: int, folds: int
) -> Split:
    """Return a split with this fold as test subset and the next one as validation subset."""
    by_subset: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    subset_of_fold = {fold: "test", (fold + 1) % folds: "validation"}
    for pair in pairs:
        by_subset[subset_of_fold.get(fold_of_name[pair.name], "training")].append(pair.name)
    return Split(*map(tuple, by_subset.values()))
