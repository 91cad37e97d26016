"""Simulated disease, artefacts, scanners and picture formats, as augmentation of training images.

Images are float32 (rows, columns) in HU. Only a missing lung, effusion and the field of view
change the reference mask. All random numbers are from one generator, so that a batch can be
reproduced.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pleura.dataset.dense_disease import add_dense_disease
from pleura.dataset.diseases import add_disease, blend, blur, random_field
from pleura.dataset.greyscale import assumed_hu, render_greyscale
from pleura.dataset.opencv import cv2
from pleura.dataset.recipe_model import RecipeModel
from pleura.intensity.reference import AIR, ASSUMED_WINDOW
from pleura.typing import BoolArray, FloatArray


class Simulation(RecipeModel):
    """Probability of each simulated effect per training image; the defaults are of `default`."""

    disease: float = Field(0.3, ge=0, le=1)
    """Consolidation, ground glass, masses, emphysema or fibrosis added to the lungs."""
    dense_disease: float = Field(0, ge=0, le=1)
    """Consolidation of large parts of the lungs and masses at the pleura, which stay in the mask,
    and effusion, which is removed from it; 0 in `default`."""
    missing_lung: float = Field(0.03, ge=0, le=1)
    """One lung becomes soft tissue, in image and mask."""
    gas: float = Field(0.2, ge=0, le=1)
    """Pockets of gas in the body outside the lungs: bowel, oesophagus, under the skin."""
    external_objects: float = Field(0.2, ge=0, le=1)
    """Lines and arcs in the air around the body: blankets, tables, tubes."""
    kernel: float = Field(0.5, ge=0, le=1)
    """Reconstruction kernel: smoothed, or sharpened."""
    noise: float = Field(0.5, ge=0, le=1)
    """Low-dose noise, white or correlated."""
    motion: float = Field(0.08, ge=0, le=1)
    """A motion ghost: the slice blended with a shifted copy of itself."""
    metal: float = Field(0.05, ge=0, le=1)
    """A bright implant with streaks."""
    field_of_view: float = Field(0.15, ge=0, le=1)
    """Constant values outside a circular or rectangular field of view, which may cut the body."""
    window: float = Field(0.3, ge=0, le=1)
    """An 8-bit picture of a window, converted back to approximate HU."""
    clahe: float = Field(0.12, ge=0, le=1)
    """An 8-bit picture with contrast-limited adaptive histogram equalisation, likewise."""
    calibration: float = Field(0.5, ge=0, le=1)
    """Calibration error: values multiplied by a factor and shifted by an offset."""
    greyscale: float = Field(0.0, ge=0, le=1)
    """An 8-bit image of any window and contrast, noisy, compressed, inverted or annotated, as HU
    in a window of -1024 to 600; replaces `window`, `clahe` and `calibration`."""


def simulate(
    hu: FloatArray, mask: FloatArray, simulation: Simulation, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Apply the simulated effects to an image and its mask.

    Parameters
    ----------
    hu:
        float32 (rows, columns), in HU.
    mask:
        float32 (rows, columns), in [0, 1].
    simulation:
        Probability of each effect.
    rng:
        The random number generator.

    Returns
    -------
    hu, mask:
        float32 (rows, columns).
    """

    def occurs(probability: float) -> bool:
        return bool(rng.random() < probability)

    hu, mask = _changed_body(hu, mask, simulation, occurs, rng)
    for probability, effect in (
        (simulation.external_objects, _external_objects),
        (simulation.metal, _metal),
        (simulation.motion, _motion),
        (simulation.kernel, _kernel),
        (simulation.noise, _noise),
    ):
        if occurs(probability):
            hu = effect(hu, rng)
    outside = np.zeros(hu.shape, np.bool_)
    if occurs(simulation.field_of_view):
        outside = _outside(hu.shape, rng)
        hu = np.where(outside, np.float32(rng.choice([-1024, -1024, -1000, 0])), hu)
        mask = np.where(outside, np.float32(0), mask)
    # No random number is drawn for a probability of 0, so that older recipes give the same images.
    if simulation.greyscale and occurs(simulation.greyscale):
        return assumed_hu(render_greyscale(hu, outside, rng)), mask
    if occurs(simulation.clahe):
        hu = _clahe(hu, rng)
    elif occurs(simulation.window):
        hu = _windowed(hu, rng)
    if occurs(simulation.calibration):
        hu = (hu - AIR) * rng.normal(1, 0.06) + AIR + rng.normal(0, 30)
    return np.asarray(hu, np.float32), mask


def _changed_body(
    hu: FloatArray,
    mask: FloatArray,
    simulation: Simulation,
    occurs: Callable[[float], bool],
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    if occurs(simulation.missing_lung):
        hu, mask = _remove_lung(hu, mask, rng)
    if occurs(simulation.disease):
        hu = add_disease(hu, mask > 0.5, rng)
    if simulation.dense_disease and occurs(simulation.dense_disease):
        hu, mask = add_dense_disease(hu, mask, rng)
    if occurs(simulation.gas):
        hu = _gas(hu, mask, rng)
    return hu, mask


def simulate_effect(
    name: str, hu: FloatArray, mask: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Apply a single effect, with the name of its probability in `Simulation`."""
    none = dict.fromkeys(Simulation.model_fields, 0.0)
    return simulate(hu, mask, Simulation(**{**none, name: 1.0}), rng)


def _remove_lung(
    hu: FloatArray, mask: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    count, components = cv2.connectedComponents((mask > 0.5).astype(np.uint8))
    if count < 3:
        return hu, mask
    removed = cv2.dilate((components == rng.integers(1, count)).astype(np.uint8), np.ones((5, 5)))
    alpha = blur(removed.astype(np.float32), 1.0)
    value = rng.normal(30, 20) + 12 * random_field(hu.shape, 4, rng)
    return blend(hu, value, alpha), np.where(removed > 0, np.float32(0), mask)


def _body(hu: FloatArray) -> BoolArray:
    """Return the region that is not connected to the image border by air."""
    air = np.pad((hu < -400).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(air, None, (0, 0), 2)
    return np.asarray(air[1:-1, 1:-1] != 2)


def _gas(hu: FloatArray, mask: FloatArray, rng: np.random.Generator) -> FloatArray:
    outside_lung = cv2.dilate((mask > 0).astype(np.uint8), np.ones((5, 5))) == 0
    tissue = np.argwhere(_body(hu) & outside_lung & (hu > -300))
    if not len(tissue):
        return hu
    alpha = np.zeros(hu.shape, np.float32)
    for row, column in rng.choice(tissue, rng.integers(1, 7)):
        axes = rng.uniform(1, 20, 2) if rng.random() < 0.4 else rng.uniform(1, 6, 2)
        ellipse = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
        cv2.ellipse(alpha, *ellipse, 0, 360, 1.0, -1)
    alpha = blur(alpha, rng.uniform(0.4, 1.2)) * (outside_lung & _body(hu))
    value = np.full(hu.shape, rng.choice([AIR, rng.uniform(-1000, -500)]), np.float32)
    if rng.random() < 0.3:  # stool with gas
        value += 150 * np.abs(random_field(hu.shape, 2, rng))
    return blend(hu, value, alpha)


def _external_objects(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    alpha = np.zeros(hu.shape, np.float32)
    rows, columns = hu.shape
    for _ in range(rng.integers(1, 5)):
        centre = int(rng.uniform(0, columns)), int(rng.uniform(0, rows))
        axes = int(rng.uniform(2, columns)), int(rng.uniform(1, rows / 2))
        angles = rng.uniform(-30, 30), rng.uniform(0, 360), rng.uniform(0, 360)
        cv2.ellipse(alpha, centre, axes, *angles, 1.0, int(rng.integers(1, 4)))
    return blend(hu, rng.uniform(-900, 300), blur(alpha, 0.6) * ~_body(hu))


def _metal(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Add an implant with a radius of 1 to 5 pixels, and bright and dark streaks around it."""
    body = np.argwhere(hu > -200)
    if not len(body):
        return hu
    row, column = rng.choice(body)
    y, x = np.indices(hu.shape, np.float32)
    distance = np.hypot(y - row, x - column) + 1
    spokes = np.interp(np.arctan2(y - row, x - column), *_spokes(rng)).astype(np.float32)
    hu = hu + rng.uniform(100, 600) * spokes * np.exp(-distance / rng.uniform(15, 80))
    return np.where(distance < rng.uniform(1, 5), np.float32(3000), np.maximum(hu, -1024))


def _spokes(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    number = int(rng.integers(8, 40))
    return np.linspace(-np.pi, np.pi, number), rng.standard_normal(number)


def _motion(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    angle, length = rng.uniform(0, np.pi), rng.uniform(2, 7)
    matrix = np.array([[1, 0, np.cos(angle) * length], [0, 1, np.sin(angle) * length]])
    shifted = cv2.warpAffine(hu, matrix, hu.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    alpha = rng.uniform(0.2, 0.5)
    return np.asarray((1 - alpha) * hu + alpha * shifted, np.float32)


def _kernel(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    sigma = rng.uniform(0.4, 1.6)
    smooth = blur(hu, sigma)
    if rng.random() < 0.6:
        return smooth
    return np.asarray(hu + rng.uniform(0.3, 1.5) * (hu - smooth), np.float32)


def _noise(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    noise = rng.standard_normal(hu.shape, np.float32)
    if rng.random() < 0.6:
        noise = blur(noise, rng.uniform(0.4, 1.2))
    sd = np.exp(rng.uniform(np.log(5), np.log(120)))
    return np.asarray(hu + noise * np.float32(sd / noise.std()), np.float32)


def _outside(shape: tuple[int, ...], rng: np.random.Generator) -> BoolArray:
    """Return the region outside a circular or rectangular field of view."""
    rows, columns = shape
    y, x = np.indices(shape, np.float32)
    if rng.random() < 0.7:
        centre = rng.normal(0.5, 0.03, 2) * shape
        distance = np.hypot(y - centre[0], x - centre[1])
        return np.asarray(distance > rng.uniform(0.33, 0.55) * columns)
    low, high = rng.uniform(0, 0.2, 2), 1 - rng.uniform(0, 0.2, 2)
    outside = (y < low[0] * rows) | (y > high[0] * rows)
    return np.asarray(outside | (x < low[1] * columns) | (x > high[1] * columns))


def _windowed(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    low, high = rng.uniform(-1400, -900), rng.uniform(50, 900)
    if rng.random() < 0.1:  # a mediastinal window, with black lungs
        low, high = rng.uniform(-400, -150), rng.uniform(150, 400)
    grey = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255) / 255
    grey = grey ** np.float32(np.exp(rng.normal(0, 0.15)))
    low = low if rng.random() < 0.6 and low < -900 else ASSUMED_WINDOW[0]
    high = high if rng.random() < 0.6 and low < -900 else ASSUMED_WINDOW[1]
    return np.asarray(grey * (high - low) + low, np.float32)


def _clahe(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    low, high = max(float(hu.min()), -1024.0 - rng.uniform(0, 500)), float(hu.max())
    high = min(high, rng.uniform(200, 3000))
    grey = np.rint(np.clip((hu - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    tiles = int(rng.integers(2, 9))
    grey = cv2.createCLAHE(rng.uniform(1, 5), (tiles, tiles)).apply(grey)
    bottom, top = ASSUMED_WINDOW[0] + rng.normal(0, 60), ASSUMED_WINDOW[1] + rng.normal(0, 200)
    return np.asarray(grey * np.float32((top - bottom) / 255) + np.float32(bottom), np.float32)
