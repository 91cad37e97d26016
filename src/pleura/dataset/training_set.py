"""Training images, from which batches are sampled and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.augmentation import (
    Augmentation,
    AugmentationFunction,
    apply_spatial_transform,
    augment_batch,
)
from pleura.dataset.opencv import cv2
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, Preprocessing, scale_intensity
from pleura.dataset.simulation import Simulation, simulate
from pleura.errors import DataError
from pleura.files.arrays import allocate_array
from pleura.typing import FloatArray, Progress, TargetArray

_OVERSAMPLING = 2
"""Size of the grid on which images are augmented, as a multiple of the network's grid."""

_CT_RANGE = (-1024.0, 3071.0)
"""HU of 12-bit scanners, all of which a greyscale image may show."""

Batch = tuple[FloatArray, TargetArray]
"""Scaled images float32 (n, rows, columns), and their masks, on the network's grid; images with
neighbouring slices are (n, channels, rows, columns)."""


class TrainingSet(Protocol):
    """Training images with masks."""

    def __len__(self) -> int:
        """Return the number of images."""

    def sample_batch(self, indices: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        """Return the images with these indices, augmented with random numbers of ``rng``."""


class PreprocessedSet:
    """Images that are augmented on the grid of the network.

    Parameters
    ----------
    images:
        float32 (n, rows, columns); with neighbouring slices (n, channels, rows, columns).
    masks:
        float32 (n, rows, columns) in [0, 1]; with several classes, uint8 class indices.
    augmentation:
        Section of the recipe, or a function; None to not augment.
    mirrored:
        With several classes: the class of a pixel in a mirrored image, by its class.
    rows:
        Rows of ``images`` and ``masks`` that are in the set; None: all. They are read by batch.
    """

    def __init__(
        self,
        images: FloatArray,
        masks: TargetArray,
        augmentation: Augmentation | AugmentationFunction | None,
        mirrored: Sequence[int] = (),
        rows: NDArray[np.intp] | None = None,
    ) -> None:
        self.rows: NDArray[np.intp] = np.arange(len(images)) if rows is None else rows
        self.images = images
        self.masks = masks
        self.augmentation = augmentation
        self.mirrored = mirrored

    def __len__(self) -> int:
        return len(self.rows)

    def sample_batch(self, indices: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        """Return the images with these indices, augmented with random numbers of ``rng``."""
        rows = self.rows[indices]
        images, masks = self.images[rows], self.masks[rows]
        if self.augmentation is None:
            return images, masks
        if isinstance(self.augmentation, Augmentation):
            return augment_batch(images, masks, self.augmentation, rng, self.mirrored)
        augmented = [
            _augment_with(self.augmentation, image, mask, rng)
            for image, mask in zip(images, masks, strict=True)
        ]
        return np.stack([image for image, _ in augmented]), np.stack(
            [mask for _, mask in augmented]
        )


class SimulatedSet:
    """Images in HU that are augmented on a finer grid, resampled, and changed by the simulation.

    Parameters
    ----------
    pairs:
        Pairs of images in HU; all are kept, as int16 and uint8, see `allocate_array`.
    preprocessing, augmentation, simulation:
        Sections of the recipe.
    progress:
        Called with the number of images that were read, and of all images.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        simulation: Simulation,
        progress: Progress | None = None,
    ) -> None:
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.simulation = simulation
        finer_size = _OVERSAMPLING * preprocessing.size[0], _OVERSAMPLING * preprocessing.size[1]
        shape = len(pairs), *finer_size
        self.images: NDArray[np.int16] = allocate_array(shape, np.int16, "the images in HU")
        self.masks: NDArray[np.uint8] = allocate_array(shape, np.uint8, "the masks")
        reader = PairReader()
        # Values are clipped before they are interpolated, as `scale_intensity` does.
        limits = _CT_RANGE if simulation.greyscale else preprocessing.window
        for i, pair in enumerate(pairs):
            image, mask = reader.read(pair)
            image = np.clip(image, *limits)
            self.images[i] = np.rint(_resample(image.astype(np.float32), finer_size))
            self.masks[i] = np.rint(_resample(mask * np.float32(255), finer_size))
            if progress is not None:
                progress(i + 1, len(pairs))

    def __len__(self) -> int:
        return len(self.images)

    def sample_batch(self, indices: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        """Return the images with these indices, augmented with random numbers of ``rng``."""
        samples = [self._sample(int(i), rng) for i in indices]
        return np.stack([image for image, _ in samples]), np.stack([mask for _, mask in samples])

    def _sample(self, i: int, rng: np.random.Generator) -> Batch:
        image, mask = self.images[i].astype(np.float32), self.masks[i] / np.float32(255)
        image, mask = apply_spatial_transform(
            image, mask, self.augmentation, rng, self.preprocessing.window[0]
        )
        size = self.preprocessing.size
        hu, mask = simulate(_resample(image, size), _resample(mask, size), self.simulation, rng)
        return scale_intensity(hu, self.preprocessing), mask


def build_training_set(
    pairs: Sequence[Pair],
    prepared: PreprocessedPairs,
    names: Sequence[str],
    augmentation: Augmentation | AugmentationFunction | None,
    simulation: Simulation | None,
    progress: Progress | None = None,
    mirrored: Sequence[int] = (),
) -> TrainingSet:
    """Return the training set of a recipe.

    Parameters
    ----------
    pairs:
        All pairs of the data set.
    prepared:
        The same pairs, preprocessed.
    names:
        Names of the training images.
    augmentation, simulation:
        Sections of the recipe; None to not augment. A function as ``augmentation`` replaces both.
    progress:
        Called with the number of images that were read, and of all images.
    mirrored:
        As for `PreprocessedSet`.

    Raises
    ------
    DataError
        A pair cannot be read.
    """
    if simulation is None or not isinstance(augmentation, Augmentation):
        rows = prepared.rows(names)
        return PreprocessedSet(prepared.images, prepared.masks, augmentation, mirrored, rows)
    by_name = {pair.name: pair for pair in pairs}
    selected = [by_name[name] for name in names]
    return SimulatedSet(selected, prepared.preprocessing, augmentation, simulation, progress)


def _augment_with(
    function: AugmentationFunction, image: FloatArray, mask: TargetArray, rng: np.random.Generator
) -> tuple[FloatArray, TargetArray]:
    augmented_image, augmented_mask = function(image.copy(), mask.copy(), rng)
    shapes = np.shape(augmented_image), np.shape(augmented_mask)
    if shapes != (image.shape, mask.shape):
        raise DataError(
            f"the custom augmentation changes the shape {image.shape} to "
            f"{shapes[0]} (image) and {shapes[1]} (mask)",
            where="augmentation",
            hint="return an image and a mask of the shape of the input",
        )
    if mask.dtype.kind == "u" and np.asarray(augmented_mask).dtype.kind not in "iu":
        raise DataError(
            f"the custom augmentation returns labels of type {np.asarray(augmented_mask).dtype}",
            where="augmentation",
            hint="return whole numbers: transform label maps with nearest-neighbour interpolation",
        )
    return np.asarray(augmented_image, np.float32), np.asarray(augmented_mask, mask.dtype)


def _resample(picture: FloatArray, size: tuple[int, int]) -> FloatArray:
    smaller = picture.shape[0] > size[0] or picture.shape[1] > size[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=interpolation), np.float32)
