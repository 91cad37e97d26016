"""The first stage of a cascade in training, prediction and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pleura.dataset.lung_input import LungInput, open_lung_input
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, Preprocessing
from pleura.dataset.subsets import Split
from pleura.errors import DataError, ModelError, RunError
from pleura.names import counted, shorten_list
from pleura.training.recipe import Recipe
from pleura.training.run import Run

LUNGS_FILE = "lungs.onnx"
"""The model file of the lungs in a run folder."""


def open_lungs(recipe: Recipe, pairs: Sequence[Pair]) -> LungInput | None:
    """Load the model of the lungs for the images of a training; None without `data.lungs`.

    Raises
    ------
    ModelError, DataError
        As `open_lung_input`.
    """
    if recipe.data.lungs is None:
        return None
    preprocessing = recipe.preprocessing
    background = _background(preprocessing)
    return open_lung_input(recipe.data.lungs, preprocessing.size, background, pairs)


def lungs_of_run(run: Run) -> LungInput | None:
    """Load the model of the lungs with which a run was trained; None without `data.lungs`.

    Raises
    ------
    RunError
        The file is missing or damaged.
    """
    recipe, preprocessing = run.recipe.data.lungs, run.recipe.preprocessing
    if recipe is None:
        return None
    model = run.folder / LUNGS_FILE
    try:
        return LungInput(model, recipe, preprocessing.size, _background(preprocessing))
    except ModelError as error:
        raise RunError(
            f"the model of the lungs cannot be used: {error.message}",
            where=model,
            hint="restore the folder from a copy, or train again",
        ) from error


def remove_without_lung(
    split: Split, prepared: PreprocessedPairs, images: Path
) -> tuple[Split, tuple[str, ...]]:
    """Remove images without lung from the training subset of a cascade.

    Returns
    -------
    split, warnings:
        The changed split, and a text if images were removed.

    Raises
    ------
    DataError
        No training image shows lungs.
    """
    removed = [name for name in split.training if name in set(prepared.without_lung)]
    if not removed:
        return split, ()
    kept = tuple(name for name in split.training if name not in set(removed))
    if not kept:
        raise DataError(
            "no lungs are found in any training image",
            where=images,
            hint="check the images with `pleura segment`, or pass another model of the lungs "
            "(recipe key data.lungs.model)",
        )
    text = counted(len(removed), "training image is", "training images are")
    warning = f"{text} not used, because no lungs are found: {shorten_list(removed)}"
    return replace(split, training=kept), (warning,)


def _background(preprocessing: Preprocessing) -> float | None:
    return preprocessing.window[0] if preprocessing.scaling == "window" else None
