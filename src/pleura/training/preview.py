"""A figure of training images before and after augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pleura.dataset.augmentation import AugmentationFunction
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, preprocess_pairs
from pleura.dataset.sources import collect_pairs, split_pairs
from pleura.dataset.subsets import Split
from pleura.dataset.training_set import build_training_set
from pleura.figures.backend import Figure
from pleura.figures.plots import PairImages, pairs_figure, save_figure
from pleura.training.lungs import open_lungs
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.typing import StrPath


def preview(
    images: StrPath,
    masks: StrPath | None,
    output: StrPath | None = None,
    recipe: Recipe | StrPath = "exercise",
    number: int = 4,
) -> Figure:
    """Return a figure of training images with their masks, before and after augmentation.

    Parameters
    ----------
    images, masks:
        Folders of the pairs; ``masks`` is None if the recipe lists data sources.
    output:
        Image file to write as well: .png, .pdf or .svg.
    recipe:
        A recipe, the name of one that is included in the package, or the path of a YAML file.
    number:
        Number of pairs.

    Returns
    -------
    matplotlib.figure.Figure
        One row per pair; notebooks display it. Its label lists the names of the pairs, one per
        line.

    Raises
    ------
    DataError
        The pairs cannot be read, or the figure cannot be written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folders = Path(images), None if masks is None else Path(masks)
    split = split_pairs(*folders, recipe.data.sources, recipe.split, recipe.data.class_masks)
    names = _evenly_spaced(split, number)
    data = recipe.data
    pairs = collect_pairs(*folders, data.sources, data.class_masks, data.roi)
    pairs = [pair for pair in pairs if pair.name in names]
    prepared = preprocess_pairs(
        pairs,
        recipe.preprocessing,
        labels=data.classes,
        context=data.context.slice_context,
        lungs=open_lungs(recipe, pairs),
    )
    figure = preview_figure(pairs, prepared, split, recipe, number)
    figure.set_label("\n".join(names))
    if output is not None:
        save_figure(figure, Path(output))
    return figure


def preview_figure(
    pairs: Sequence[Pair],
    prepared: PreprocessedPairs,
    split: Split,
    recipe: Recipe,
    number: int = 4,
    augmentation: AugmentationFunction | None = None,
) -> Figure:
    """Return a figure of training pairs before and after augmentation.

    Parameters
    ----------
    pairs, prepared:
        The pairs, and their preprocessed images and masks.
    split:
        The pairs are evenly spaced in its training subset.
    recipe:
        Augmentation, simulation and seed.
    number:
        Number of pairs.
    augmentation:
        Custom augmentation; None is that of the recipe.
    """
    names = _evenly_spaced(split, number)
    sections = augmentation or recipe.augmentation, recipe.simulation
    training_set = build_training_set(pairs, prepared, names, *sections, mirrored=recipe.mirrored)
    augmented, augmented_masks = training_set.sample_batch(
        np.arange(len(names)), np.random.default_rng(recipe.training.seed)
    )
    images, masks = prepared.select(names)
    if images.ndim == 4:  # with neighbouring slices: the slice itself
        centre = images.shape[1] // 2
        images, augmented = images[:, centre], augmented[:, centre]
    rows = zip(names, images, masks, augmented, augmented_masks, strict=True)
    is_label_map = bool(recipe.data.labels)
    return pairs_figure([PairImages(*row, is_label_map) for row in rows])


def _evenly_spaced(split: Split, number: int) -> list[str]:
    index = np.linspace(0, len(split.training) - 1, min(number, len(split.training))).round()
    return [split.training[int(i)] for i in index]
