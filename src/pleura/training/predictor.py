"""Predict images in memory with a training run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.preprocessing import Preprocessing, preprocess_image, resample_probability
from pleura.engine.classes import choose_classes
from pleura.training.compute import ComputeDevice
from pleura.training.run import Run
from pleura.training.state import trained_network
from pleura.typing import AnyArray, FloatArray


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

    def logits(self, prepared: FloatArray) -> FloatArray:
        """Return the logits of preprocessed images, both float32 (n, rows, columns).

        With `data.context`, the images are (n, channels, rows, columns).
        With several classes, the logits are (n, 1 + classes, rows, columns), background first.
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
        """
        prepared = preprocess_image(image, self.preprocessing, where)
        return self.resampled_probability(self.logits(prepared[None])[0], image.shape[-2:])

    def resampled_probability(self, logits: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Return the probability of the logits of one image, on the grid of the image."""
        size = shape[0], shape[1]
        if not self.run.classes:
            return resample_probability(sigmoid(logits), size, self.preprocessing)
        maps = (resample_probability(p, size, self.preprocessing) for p in softmax(logits)[1:])
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
            uint8 (rows, columns), 0 and 1; with several classes, class indices from 0, background.
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
