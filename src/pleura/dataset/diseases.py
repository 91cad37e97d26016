"""Simulated lung diseases, for `pleura.dataset.simulation`.

Images are float32 (rows, columns) in HU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pleura.dataset.opencv import cv2
from pleura.intensity.reference import AIR
from pleura.typing import BoolArray, FloatArray


def random_field(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> FloatArray:
    """Return a smooth random field, mean 0, SD about 1, correlation length ``grain`` in pixels."""
    coarse = rng.standard_normal([max(2, round(side / grain) + 2) for side in shape], np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(field / max(float(field.std()), 1e-3), np.float32)


def blur(picture: FloatArray, sigma: float) -> FloatArray:
    """Return the image after a Gaussian filter; ``sigma`` is in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def blend(hu: FloatArray, value: FloatArray | float, alpha: FloatArray) -> FloatArray:
    """Return the image with a fraction ``alpha`` in [0, 1] of each pixel replaced by a value."""
    return np.asarray(hu + alpha * (value - hu), np.float32)


def _patches(lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Return smooth patches in [0, 1] over 5 to 50 % of the lungs, often dorsal or peripheral."""
    rows = np.linspace(-1, 1, lung.shape[0], dtype=np.float32)[:, None]
    field = random_field(lung.shape, rng.uniform(8, 60), rng) + rng.normal(0, 1.5) * rows
    if rng.random() < 0.4:
        field = field - rng.uniform(0.02, 0.12) * _depth(lung)
    limit = np.quantile(field[lung], 1 - rng.uniform(0.05, 0.5))
    patches = ((field > limit) & lung).astype(np.float32)
    return blur(patches, rng.uniform(0.4, 2.5)) * lung


def _depth(lung: BoolArray) -> FloatArray:
    """Return the distance from the border of the lung, in pixels."""
    distance = cv2.distanceTransform(lung.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(distance, np.float32)


def add_disease(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Add one or two diseases to the lungs, if there are any."""
    if lung.any():
        number = 1 if rng.random() < 0.7 else 2
        for disease in rng.choice(len(_DISEASES), number, replace=False, p=_DISEASE_PROBABILITIES):
            hu = _DISEASES[disease](hu, lung, rng)
    return hu


def _consolidation(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Add dense patches, most of them with air bronchograms.

    Without air bronchograms, a patch resembles the dome of the liver.
    """
    value = rng.normal(20, 40) + 20 * random_field(hu.shape, 3, rng)
    alpha = rng.uniform(0.7, 1) * _patches(lung, rng)
    if rng.random() < 0.8:
        alpha = alpha * np.clip(
            2 - 2 * np.abs(random_field(hu.shape, rng.uniform(2, 5), rng)), 0, 1
        )
    return blend(hu, value, np.asarray(alpha, np.float32))


def _dependent(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Fill the lungs from one side, mostly dorsal, like atelectasis and effusion."""
    angle = rng.normal(0, 0.3) + (np.pi if rng.random() < 0.15 else 0)
    y, x = np.nonzero(lung)
    height = y * np.cos(angle) + x * np.sin(angle)
    limit = np.quantile(height, 1 - rng.uniform(0.03, 0.3))
    rows, columns = np.indices(hu.shape, np.float32)
    level = rows * np.cos(angle) + columns * np.sin(angle) + 3 * random_field(hu.shape, 30, rng)
    filled = blur(((level > limit) & lung).astype(np.float32), rng.uniform(0.4, 2)) * lung
    return blend(hu, rng.normal(20, 25), filled)


def _ground_glass(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    denser = rng.uniform(80, 450) * (1 + 0.2 * random_field(hu.shape, 3, rng))
    return np.minimum(hu + denser.astype(np.float32) * _patches(lung, rng), np.maximum(hu, 60))


def _masses(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Add one to four round masses, most of them at the pleura."""
    depth = _depth(lung)
    rim = np.argwhere(lung & (depth < 6)) if rng.random() < 0.7 else np.argwhere(lung)
    alpha = np.zeros(hu.shape, np.float32)
    for row, column in rng.choice(rim, rng.integers(1, 5)):
        axes = rng.uniform(2, 20, 2) if rng.random() < 0.5 else rng.uniform(2, 8, 2)
        ellipse = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
        cv2.ellipse(alpha, *ellipse, 0, 360, 1.0, -1)
    value = rng.normal(35, 25) + 12 * random_field(hu.shape, 4, rng)
    return blend(hu, value, blur(alpha, rng.uniform(0.4, 1.5)) * lung)


def _emphysema(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    return blend(hu, rng.uniform(-1000, -930), _patches(lung, rng) * np.float32(0.9))


def _fibrosis(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Add a network of walls and cysts, like subpleural honeycombing."""
    net = np.abs(random_field(hu.shape, rng.uniform(3, 7), rng))
    walls = rng.uniform(200, 700) * (1 - 2 * np.minimum(net, 1))
    subpleural = np.exp(-_depth(lung) / rng.uniform(6, 30)) * lung
    return np.asarray(np.clip(hu + walls * subpleural, AIR, np.maximum(hu, 80)), np.float32)


_DISEASES: tuple[Callable[[FloatArray, BoolArray, np.random.Generator], FloatArray], ...] = (
    _consolidation,
    _dependent,
    _ground_glass,
    _masses,
    _emphysema,
    _fibrosis,
)


_DISEASE_PROBABILITIES = (0.2, 0.08, 0.24, 0.16, 0.16, 0.16)
