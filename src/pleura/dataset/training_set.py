"""What a training draws its batches from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dataset.augmentation import Augmentation, augment_batch, move
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, Preprocessing, scale
from pleura.dataset.simulation import Simulation, simulate
from pleura.typing import FloatArray, Progress

_FINER = 2
"""Times the network's grid: the canvas on which images are moved before they are reduced."""

Batch = tuple[FloatArray, FloatArray]
"""Scaled images and masks in [0, 1], float32 (n, rows, columns), on the network's grid."""


class TrainingSet(Protocol):
    """The training images; ``draw`` returns those ``chosen``, changed as ``rng`` has it."""

    def __len__(self) -> int: ...

    def draw(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch: ...


class PreparedSet:
    """Images on the network's grid, augmented there."""

    def __init__(self, images: FloatArray, masks: FloatArray, augmentation: Augmentation | None):
        self.images, self.masks, self.augmentation = images, masks, augmentation

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        images, masks = self.images[chosen], self.masks[chosen]
        if self.augmentation is None:
            return images, masks
        return augment_batch(images, masks, self.augmentation, rng)


class SimulatedSet:
    """Images in HU on a canvas finer than the network's grid: moved, reduced, then simulated on.

    Parameters
    ----------
    pairs:
        Of images in HU; all are kept in memory, int16 and uint8.
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
        canvas = _FINER * preprocessing.size[0], _FINER * preprocessing.size[1]
        self.images = np.empty((len(pairs), *canvas), np.int16)
        self.masks = np.empty((len(pairs), *canvas), np.uint8)
        reader = PairReader()
        for i, pair in enumerate(pairs):
            image, mask = reader.read(pair)
            image = np.clip(image, *preprocessing.window)  # before pixels are averaged, as `scale`
            self.images[i] = np.rint(_fit(image.astype(np.float32), canvas))
            self.masks[i] = np.rint(_fit(mask * np.float32(255), canvas))
            if progress is not None:
                progress(i + 1, len(pairs))

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, chosen: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        drawn = [self._draw(int(i), rng) for i in chosen]
        return np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn])

    def _draw(self, i: int, rng: np.random.Generator) -> Batch:
        image, mask = self.images[i].astype(np.float32), self.masks[i] / np.float32(255)
        image, mask = move(image, mask, self.augmentation, rng, self.preprocessing.window[0])
        size = self.preprocessing.size
        hu, mask = simulate(_fit(image, size), _fit(mask, size), self.simulation, rng)
        return scale(hu, self.preprocessing), mask


def make_training_set(
    pairs: Sequence[Pair],
    prepared: PreprocessedPairs,
    names: Sequence[str],
    augmentation: Augmentation | None,
    simulation: Simulation | None,
    progress: Progress | None = None,
) -> TrainingSet:
    """Return the training set of the pairs with these names.

    Raises
    ------
    DataError
        A pair cannot be read.
    """
    if simulation is None or augmentation is None:
        return PreparedSet(*prepared.select(names), augmentation)
    by_name = {pair.name: pair for pair in pairs}
    chosen = [by_name[name] for name in names]
    return SimulatedSet(chosen, prepared.preprocessing, augmentation, simulation, progress)


def _fit(picture: FloatArray, size: tuple[int, int]) -> FloatArray:
    smaller = picture.shape[0] > size[0] or picture.shape[1] > size[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=how), np.float32)
