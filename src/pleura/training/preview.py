"""What the network will see, drawn before a training is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, preprocess_pairs
from pleura.dataset.sources import collect_pairs, split_pairs
from pleura.dataset.subsets import Split
from pleura.dataset.training_set import build_training_set
from pleura.figures.backend import Figure
from pleura.figures.plots import PairImages, pairs_figure, save_figure
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe


def preview(
    images: str | Path,
    masks: str | Path | None,
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
    where = Path(images), None if masks is None else Path(masks)
    split = split_pairs(*where, recipe.data, recipe.split)
    names = _spread(split, number)
    pairs = [pair for pair in collect_pairs(*where, recipe.data) if pair.name in names]
    prepared = preprocess_pairs(pairs, recipe.preprocessing)
    save_figure(preview_figure(pairs, prepared, split, recipe, number), Path(output))
    return names


def preview_figure(
    pairs: Sequence[Pair],
    prepared: PreprocessedPairs,
    split: Split,
    recipe: Recipe,
    number: int = 4,
) -> Figure:
    """Draw training pairs, spread evenly over the training part, before and after augmentation."""
    names = _spread(split, number)
    changes = recipe.augmentation, recipe.simulation
    training_set = build_training_set(pairs, prepared, names, *changes)
    drawn = training_set.sample_batch(
        np.arange(len(names)), np.random.default_rng(recipe.training.seed)
    )
    pictures = zip(names, *prepared.select(names), *drawn, strict=True)
    return pairs_figure([PairImages(*picture) for picture in pictures])


def _spread(split: Split, number: int) -> list[str]:
    index = np.linspace(0, len(split.training) - 1, min(number, len(split.training))).round()
    return [split.training[int(i)] for i in index]
