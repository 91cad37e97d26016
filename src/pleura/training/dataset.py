"""A PyTorch dataset of image-mask pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pleura.dataset.overlap import resolve_duplicates
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import preprocess_pairs
from pleura.dataset.sources import collect_pairs, split_listed_pairs, split_pairs
from pleura.dataset.training_set import TrainingSet, build_training_set
from pleura.names import counted
from pleura.training.lungs import open_lungs, remove_without_lung
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.typing import StrPath


class SegmentationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Preprocessed images and masks of a subset, as `train` uses them.

    Training images are augmented; the augmentation is a function of the seed of the recipe, the
    epoch and the index. All images are read at once; large sets are kept in a temporary file.

    Parameters
    ----------
    pairs_or_folders:
        Pairs, such as of `find_pairs`; or the folders of the images and masks; or the folder of the
        data sources of the recipe, and None.
    recipe:
        Recipe, its name or its file: the preprocessing, split, augmentation, simulation and seed.
    subset:
        Subset of the split.
    epoch:
        Epoch of the augmentation, see `set_epoch`.

    Raises
    ------
    DataError
        The pairs cannot be read or split, or an image is in two subsets.
    RecipeError
        The recipe cannot be used.
    """

    def __init__(
        self,
        pairs_or_folders: Sequence[Pair] | tuple[StrPath, StrPath | None],
        recipe: Recipe | StrPath,
        subset: Literal["training", "validation", "test"] = "training",
        epoch: int = 0,
    ) -> None:
        recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        first, *rest = pairs_or_folders
        if isinstance(first, Pair):
            pairs = [pair for pair in pairs_or_folders if isinstance(pair, Pair)]
            split = split_listed_pairs(pairs, recipe.split)
        else:
            masks = None if rest[0] is None else Path(str(rest[0]))
            data, folders = recipe.data, (Path(first), masks)
            pairs = collect_pairs(*folders, data.sources, data.class_masks, data.roi)
            split = split_pairs(*folders, data.sources, recipe.split, data.class_masks)
        preprocessed = preprocess_pairs(
            pairs,
            recipe.preprocessing,
            labels=recipe.data.classes,
            context=recipe.data.context.slice_context,
            lungs=open_lungs(recipe, pairs),
        )
        split = resolve_duplicates(pairs, preprocessed, split, recipe.split)
        split, _ = remove_without_lung(split, preprocessed, pairs[0].image.parent)
        self.names: tuple[str, ...] = getattr(split, subset)
        """Names of the pairs, by index."""
        self._subset: str = subset
        augmented = subset == "training"
        self._training_set: TrainingSet = build_training_set(
            pairs,
            preprocessed,
            self.names,
            recipe.augmentation if augmented else None,
            recipe.simulation if augmented else None,
            mirrored=recipe.mirrored,
        )
        self._seed = recipe.training.seed
        # Shared, so that persistent workers of a DataLoader use the epoch that is set later.
        self._epoch: Tensor = torch.tensor(epoch).share_memory_()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        rows, columns = self[0][0].shape[1:]
        size = counted(len(self), "pair")
        return f"SegmentationDataset({self._subset}; {size} of {rows}x{columns})"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the image and the mask, both (1, rows, columns).

        The image is float32, and the mask float32 in [0, 1]. With `data.labels`, the mask is uint8:
        0 background, else 1 plus the index of the label. With `data.context`, the image is
        (channels, rows, columns).
        """
        index = range(len(self))[index]
        rng = np.random.default_rng((self._seed, int(self._epoch), index))
        images, masks = self._training_set.sample_batch(np.array([index]), rng)
        image = images if images.ndim == 3 else images[0]
        return torch.from_numpy(image), torch.from_numpy(masks)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0; each epoch has different augmentations."""
        self._epoch.fill_(epoch)
