"""Random changes to training images: one draw moves an image and its mask alike."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pleura.dataset.recipe_model import RecipeModel
from pleura.typing import FloatArray

_INTERPOLATION = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR}


class Augmentation(RecipeModel):
    """Ranges of the random transforms, which are sampled uniformly."""

    shift: float = Field(0.1, ge=0, le=0.5)
    """Largest shift, as a fraction of the height and of the width."""
    rotation: float = Field(10.0, ge=0, le=180)
    """Largest rotation, in degrees, either way."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Smallest and largest zoom, sampled for each axis; above 1 the lungs grow."""
    anisotropy: float | None = Field(None, ge=1, le=2)
    """Largest ratio between the zooms of the two axes; unset: each axis has its own zoom."""
    full_rotation_probability: float = Field(0.0, ge=0, le=1)
    """Probability of a further rotation: by 180 degrees, or by any angle."""
    elastic: float = Field(0.0, ge=0, le=0.1)
    """Largest displacement of the elastic deformation, as a fraction of the width; only with
    `simulation`."""
    flip: bool = False
    """Mirror half of the images left to right."""
    intensity_scale: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of contrast: values are multiplied by a factor between 1 minus and 1
    plus this."""
    intensity_shift: float = Field(0.0, ge=0)
    """Largest change of brightness, added to the scaled values."""
    noise: float = Field(0.0, ge=0)
    """Largest standard deviation of white noise, added to the scaled values."""
    mask_interpolation: Literal["nearest", "linear"] = "nearest"
    """`nearest` keeps a 0/1 mask 0/1; `linear` moves soft targets smoothly."""

    @model_validator(mode="after")
    def _possible(self) -> Augmentation:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom: two positive factors, the smaller one first")
        return self


def augment(
    image: FloatArray, mask: FloatArray, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw once and change image and mask (rows, columns) alike; what comes in is edge-filled."""
    matrix = _draw_affine(image.shape, augmentation, rng)
    moved_image = _warp(image, matrix, cv2.INTER_LINEAR)
    moved_mask = _warp(mask, matrix, _INTERPOLATION[augmentation.mask_interpolation])
    return _change_values(moved_image, augmentation, rng), moved_mask


def move(
    image: FloatArray,
    mask: FloatArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    outside: float,
) -> tuple[FloatArray, FloatArray]:
    """Draw once and move image and mask (rows, columns) alike, bent as well; no value changes.

    What comes in is ``outside`` in the image and 0 in the mask.
    """
    back = cv2.invertAffineTransform(_draw_affine(image.shape, augmentation, rng))
    y, x = (np.arange(side) for side in image.shape)
    from_columns, from_rows = (
        np.add.outer((b * y + c).astype(np.float32), (a * x).astype(np.float32)) for a, b, c in back
    )
    if augmentation.elastic:
        most = augmentation.elastic * image.shape[1]
        from_columns += _elastic_displacement(image.shape, most, rng)
        from_rows += _elastic_displacement(image.shape, most, rng)

    def moved(picture: FloatArray, beyond: float) -> FloatArray:
        taken = cv2.remap(
            picture,
            from_columns,
            from_rows,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=beyond,
        )
        return np.asarray(taken, np.float32)

    return moved(image, outside), moved(mask, 0.0)


def _elastic_displacement(
    shape: tuple[int, ...], most: float, rng: np.random.Generator
) -> FloatArray:
    coarse = rng.uniform(-most, most, (4, 4)).astype(np.float32)
    fine = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)  # at full size it is slow
    return np.asarray(cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def augment_batch(
    images: FloatArray, masks: FloatArray, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Augment (n, rows, columns) images with their masks, a draw for each pair."""
    changed = [augment(i, m, augmentation, rng) for i, m in zip(images, masks, strict=True)]
    return np.stack([image for image, _ in changed]), np.stack([mask for _, mask in changed])


def _draw_affine(
    shape: tuple[int, ...], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the 2x3 matrix from source to target (column, row), about the image's centre."""
    rows, columns = shape
    angle = np.deg2rad(rng.uniform(-augmentation.rotation, augmentation.rotation))
    if (
        augmentation.full_rotation_probability
        and rng.random() < augmentation.full_rotation_probability
    ):
        angle += np.pi if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
    if augmentation.anisotropy is None:
        zoom_y, zoom_x = rng.uniform(*augmentation.zoom, size=2)
    else:
        zoom = np.exp(rng.uniform(*np.log(augmentation.zoom)))
        ratio = augmentation.anisotropy ** rng.uniform(-0.5, 0.5)
        zoom_y, zoom_x = zoom * ratio, zoom / ratio
    shift_y, shift_x = rng.uniform(-augmentation.shift, augmentation.shift, size=2)
    mirror = -1.0 if augmentation.flip and rng.random() < 0.5 else 1.0
    linear = np.array(
        [
            [mirror * zoom_x * np.cos(angle), -zoom_x * np.sin(angle)],
            [mirror * zoom_y * np.sin(angle), zoom_y * np.cos(angle)],
        ]
    )
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    move = centre - linear @ centre + [shift_x * columns, shift_y * rows]
    return np.column_stack([linear, move])


def _warp(picture: FloatArray, matrix: NDArray[np.float64], interpolation: int) -> FloatArray:
    moved = cv2.warpAffine(
        picture, matrix, picture.shape[::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.float32)


def _change_values(
    image: FloatArray, augmentation: Augmentation, rng: np.random.Generator
) -> FloatArray:
    if augmentation.intensity_scale:
        image = image * np.float32(
            1 + rng.uniform(-augmentation.intensity_scale, augmentation.intensity_scale)
        )
    if augmentation.intensity_shift:
        image = image + np.float32(
            rng.uniform(-augmentation.intensity_shift, augmentation.intensity_shift)
        )
    if augmentation.noise:
        sd = np.float32(rng.uniform(0, augmentation.noise))
        image = image + sd * rng.standard_normal(image.shape, np.float32)
    return image
