"""Cross-validation: each mask is checked by a network that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.label_errors import Probability
from pleura.dataset.pairs import Pair, find_pairs
from pleura.engine.engine import Engine
from pleura.errors import DataError
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text
from pleura.training.export import export
from pleura.training.loop import TrainingCallbacks, train
from pleura.training.recipe import Recipe, build_recipe


def cross_validate(
    images: Path,
    masks: Path,
    recipe: Recipe,
    folds: int,
    folder: Path,
    callbacks: TrainingCallbacks | None = None,
) -> Probability:
    """Train ``folds`` networks below a folder; return the probability by the one not trained on it.

    The slices of one volume stay in one fold, and copies of an image are not trained on.

    Raises
    ------
    DataError
        The pairs cannot be read, or there are fewer than the folds need.
    RunError
        The folder holds runs already.
    """
    pairs = find_pairs(images, masks)
    sources = list(dict.fromkeys(_source(pair) for pair in pairs))
    if folds < 3 or len(sources) < 2 * folds:
        raise DataError(
            f"{len(sources)} images, or {folds} folds, are too few to cross-validate",
            where=images,
            hint="take 3 folds or more, and two images a fold at least",
        )
    fold_of = {source: i % folds for i, source in enumerate(sources)}
    engines = []
    for fold in range(folds):
        place = folder / f"fold-{fold + 1}"
        split = folder / f"fold-{fold + 1}.csv"
        _write_split(split, pairs, fold_of, fold, folds)
        values = recipe.model_dump(mode="json")
        values["split"] = {"method": "file", "file": str(split), "duplicates": "exclude"}
        values["data"] = []
        train(
            images,
            masks,
            place,
            build_recipe(values, recipe.name),
            callbacks=callbacks or TrainingCallbacks(),
        )
        export(place, place.with_suffix(".onnx"))
        engines.append(Engine(place.with_suffix(".onnx")))
    by_name = {pair.name: engines[fold_of[_source(pair)]] for pair in pairs}

    def probability(name: str, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        return by_name[name].probability(hu)

    return probability


def _source(pair: Pair) -> str:
    return pair.group or str(pair.image)


def _write_split(
    path: Path, pairs: Sequence[Pair], fold_of: dict[str, int], fold: int, folds: int
) -> None:
    """Write a split: one fold to judge, the next to validate on, the others to learn from."""
    subsets = {fold: "test", (fold + 1) % folds: "validation"}
    rows = ([pair.name, subsets.get(fold_of[_source(pair)], "training")] for pair in pairs)
    write_text(path, csv_text(["name", "subset"], rows))
