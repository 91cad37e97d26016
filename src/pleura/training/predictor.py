"""Predict images in memory with a training run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.lung_input import LungInput
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import Preprocessing, preprocess_image, resample_probability
from pleura.engine.classes import choose_classes
from pleura.errors import RunError
from pleura.segmentation.lung_region import SliceRegion
from pleura.training.compute import ComputeDevice
from pleura.training.lungs import lungs_of_run
from pleura.training.run import Run
from pleura.training.state import trained_network
from pleura.typing import AnyArray, FloatArray

_CERTAIN = 20.0
"""Logit of a class that is certain."""


class Predictor:
    """The network of a run, loaded once to predict many images.

    Parameters
    ----------
    run:
        The training run.

    Raises
    ------
    RunError
        The run's weights are missing, unreadable, or of another network.
    """

    def __init__(self, run: Run) -> None:
        self.run: Run = run
        self.preprocessing: Preprocessing = run.recipe.preprocessing
        # The run may have been trained on another computer.
        here = {"device": "auto", "precision": "auto", "threads": None}
        self._compute = ComputeDevice(run.recipe.training.model_copy(update=here))
        self._network = self._compute.place(trained_network(run))
        self._lungs: LungInput | None = lungs_of_run(run)

    def logits(self, prepared: FloatArray) -> FloatArray:
        """Return the logits of preprocessed images, both float32 (n, rows, columns).

        With `data.context`, the images are (n, channels, rows, columns).
        With several classes, the logits are (n, 1 + classes, rows, columns), background first; of
        classes that may overlap, (n, classes, rows, columns).
        """
        batch = self.run.recipe.training.batch_size
        parts = [
            self._compute.logits(self._network, prepared[i : i + batch]).cpu().numpy()
            for i in range(0, len(prepared), batch)
        ]
        logits = np.concatenate(parts)
        return logits if self.run.classes else logits[:, 0]

    def probability(self, image: AnyArray, where: str = "image") -> FloatArray:
        """Predict the probability of lung, or of each class, of one image.

        Parameters
        ----------
        image:
            (rows, columns), in the units of the training images; with `data.context`
            (channels, rows, columns).
        where:
            Name of the image in an error.

        Returns
        -------
        array
            float32 (rows, columns), on the grid of the image; with several classes
            (classes, rows, columns), without background.

        Raises
        ------
        DataError
            The image cannot be preprocessed.
        RunError
            The run is a cascade, whose lungs are found in image files: use `file_probability`.
        """
        if self._lungs is not None:
            raise RunError(
                "a run with the recipe key data.lungs predicts image files, not arrays",
                where=self.run.folder,
                hint="call Predictor.file_probability, or export the run and use pleura.Segmenter",
            )
        return self._probability(image, SliceRegion.whole(image.shape[-2:]), where)

    def file_probability(self, path: Path, image: AnyArray) -> FloatArray:
        """Predict the probability of lung, or of each class, of a 2-D image file.

        Parameters
        ----------
        path:
            The file, in which a cascade finds the lungs.
        image:
            Its content (rows, columns), as `pleura.dataset.images_2d.read_image_2d` returns it.

        Returns
        -------
        array
            As `probability`; 0 outside the lungs of a cascade.

        Raises
        ------
        DataError
            The image cannot be preprocessed, or not be read as a scan.
        """
        region = self.region(Pair(path.name, path, path, no_lung=True), image.shape)
        return self._probability(image, region, str(path))

    def region(self, pair: Pair, shape: tuple[int, ...]) -> SliceRegion | None:
        """Return the part of an image that the network gets; None if a cascade finds no lung."""
        if self._lungs is None:
            return SliceRegion.whole(shape)
        return self._lungs.region(pair, shape)

    def region_logits(self, image: AnyArray, region: SliceRegion | None, where: str) -> FloatArray:
        """Return the logits of the region of an image, on the network's grid.

        Without a region, they are those of certain background.
        """
        if region is not None:
            prepared = preprocess_image(region.cut(image), self.preprocessing, where)
            return np.asarray(self.logits(prepared[None])[0], np.float32)
        classes = len(self.run.classes)
        logits = np.full((1 + classes, *self.preprocessing.size), -_CERTAIN, np.float32)
        logits[0] = _CERTAIN
        return logits

    def _probability(self, image: AnyArray, region: SliceRegion | None, where: str) -> FloatArray:
        logits = self.region_logits(image, region, where)
        return self.region_probability(logits, image.shape[-2:], region)

    def region_probability(
        self, logits: FloatArray, shape: tuple[int, ...], region: SliceRegion | None
    ) -> FloatArray:
        """Return the probability of the logits of a region, on the grid of the image."""
        if region is None:
            return np.zeros((len(self.run.classes), *shape), np.float32)
        probability = self.resampled_probability(logits, region.shape)
        return np.asarray(region.paste(probability, shape), np.float32)

    def resampled_probability(self, logits: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Return the probability of the logits of one image, on a grid (rows, columns)."""
        size = shape[0], shape[1]
        if not self.run.classes:
            return resample_probability(sigmoid(logits), size, self.preprocessing)
        probability = sigmoid(logits) if self.run.recipe.data.overlap else softmax(logits)[1:]
        maps = (resample_probability(p, size, self.preprocessing) for p in probability)
        return np.stack(list(maps))

    def mask(self, probability: FloatArray, threshold: float | None = None) -> NDArray[np.uint8]:
        """Return the mask of probabilities of one image.

        Parameters
        ----------
        probability:
            As `probability` returns it.
        threshold:
            Smallest probability of a lung pixel, and of each class; None: those of the run.

        Returns
        -------
        array
            uint8 (rows, columns), 0 and 1; with several classes, class indices from 0, background;
            of classes that may overlap, a bit field, uint16.
        """
        if not self.run.classes:
            limit = self.run.threshold if threshold is None else threshold
            return np.greater_equal(probability, limit).astype(np.uint8)
        labels = self.run.classes
        if threshold is not None:
            labels = tuple(replace(label, threshold=threshold) for label in labels)
        return choose_classes(probability, labels)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return probabilities of logits, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Return the probabilities of logits (classes, ...), without overflow."""
    exponentials = np.exp(logits - logits.max(0))
    return np.asarray(exponentials / exponentials.sum(0), np.float32)
