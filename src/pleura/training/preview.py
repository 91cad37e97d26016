"""What the network will see, drawn before a training is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pleura.dataset.augmentation import augment
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preparation import PreparedPairs, prepare_pairs
from pleura.dataset.splits import Split, split_names
from pleura.figures.masks import PairPicture, pairs_figure, save_figure
from pleura.training.recipe import Recipe, load_recipe


def preview(
    images: str | Path,
    masks: str | Path,
    output: str | Path,
    recipe: Recipe | str | Path = "exercise",
    number: int = 4,
) -> list[str]:
    """Draw training images beside their masks, and after one augmentation, and name them.

    Raises
    ------
    DataError
        The pairs cannot be read, or the picture cannot be written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    pairs = find_pairs(Path(images), Path(masks))
    split = split_names([pair.name for pair in pairs], recipe.split)
    names = _spread(split, number)
    prepared = prepare_pairs([pair for pair in pairs if pair.name in names], recipe.preparation)
    save_figure(preview_figure(prepared, split, recipe, number), Path(output))
    return names


def preview_figure(
    prepared: PreparedPairs, split: Split, recipe: Recipe, number: int = 4
) -> Figure:
    """Draw training pairs, spread evenly over the training part, before and after augmentation."""
    names = _spread(split, number)
    rng = np.random.default_rng(recipe.training.seed)
    pictures = []
    for name, image, mask in zip(names, *prepared.part(names), strict=True):
        moved = (image, mask)
        if recipe.augmentation is not None:
            moved = augment(image, mask, recipe.augmentation, rng)
        pictures.append(PairPicture(name, image, mask, *moved))
    return pairs_figure(pictures)


def _spread(split: Split, number: int) -> list[str]:
    index = np.linspace(0, len(split.train) - 1, min(number, len(split.train))).round()
    return [split.train[int(i)] for i in index]
