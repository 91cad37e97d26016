"""Random transforms of training images and their masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pleura.dataset.opencv import cv2
from pleura.dataset.recipe_model import RecipeModel
from pleura.typing import FloatArray, TargetArray

AugmentationFunction = Callable[
    [FloatArray, TargetArray, np.random.Generator], tuple[FloatArray, TargetArray]
]
"""Augmented image and mask of a preprocessed image and its mask, all float32 (rows, columns); with
`data.labels`, the masks are uint8: 0 background, else 1 plus the index of the label; with
`data.overlap`, bit fields, uint16. With `data.context`, the images are (channels, rows,
columns)."""


class Augmentation(RecipeModel):
    """Ranges of the random transforms, which are sampled uniformly."""

    shift: float = Field(0.1, ge=0, le=0.5)
    """Largest shift, as a fraction of the height and of the width."""
    rotation: float = Field(10.0, ge=0, le=180)
    """Largest rotation in degrees, in both directions."""
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
    """Mirror half of the images left to right. With `data.labels`, labels with right and left in
    their names are exchanged in mirrored masks (see `data.labels.mirrored`)."""
    intensity_scale: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of contrast: values are multiplied by a factor between 1 minus and 1
    plus this."""
    intensity_shift: float = Field(0.0, ge=0)
    """Largest change of brightness, added to the scaled values."""
    noise: float = Field(0.0, ge=0)
    """Largest standard deviation of white noise, added to the scaled values."""
    mask_interpolation: Literal["nearest", "linear"] = "nearest"
    """`nearest` keeps a 0/1 mask 0/1; `linear` moves soft targets smoothly. With `data.labels`, it
    is always `nearest`."""

    @model_validator(mode="after")
    def _possible(self) -> Augmentation:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom: must be two positive factors, the smaller one first")
        return self


def augment(
    image: FloatArray,
    mask: TargetArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    mirrored: Sequence[int] = (),
) -> tuple[FloatArray, TargetArray]:
    """Apply the same random transform to an image and its mask.

    Parameters
    ----------
    image, mask:
        (rows, columns); the image is float32, and the mask float32, uint8 class indices, or a
        uint16 bit field. Values beyond the border are those of the nearest border pixel. An image
        with neighbouring slices is (channels, rows, columns); all channels are transformed equally,
        and only the noise is drawn for each.
    augmentation:
        Ranges of the transforms.
    rng:
        The random number generator.
    mirrored:
        For class indices: the class of a pixel in a mirrored image, by its class; for bit fields,
        its bit field.

    Returns
    -------
    image, mask:
        As the arguments.
    """
    matrix = _sample_affine(mask.shape, augmentation, rng)
    if image.ndim == 2:
        warped_image = _warp(image, matrix, cv2.INTER_LINEAR)
    else:
        warped_image = np.stack([_warp(one, matrix, cv2.INTER_LINEAR) for one in image])
    is_label_map = mask.dtype.kind == "u"
    nearest = is_label_map or augmentation.mask_interpolation == "nearest"
    warped_mask = _warp(mask, matrix, cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
    if is_label_map and np.linalg.det(matrix[:, :2]) < 0:
        warped_mask = np.asarray(mirrored, mask.dtype)[warped_mask]
    return _change_intensity(warped_image, augmentation, rng), warped_mask


def apply_spatial_transform(
    image: FloatArray,
    mask: FloatArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    outside: float,
) -> tuple[FloatArray, FloatArray]:
    """Apply the same random affine and elastic transform to an image and its mask.

    Parameters
    ----------
    image, mask:
        float32 (rows, columns).
    augmentation:
        Ranges of the transforms; those of the intensity are ignored.
    rng:
        The random number generator.
    outside:
        Value of the image beyond its border; that of the mask is 0.

    Returns
    -------
    image, mask:
        float32 (rows, columns).
    """
    inverse = cv2.invertAffineTransform(_sample_affine(image.shape, augmentation, rng))
    y, x = (np.arange(side) for side in image.shape)
    from_columns, from_rows = (
        np.add.outer((b * y + c).astype(np.float32), (a * x).astype(np.float32))
        for a, b, c in inverse
    )
    if augmentation.elastic:
        limit = augmentation.elastic * image.shape[1]
        from_columns += _elastic_displacement(image.shape, limit, rng)
        from_rows += _elastic_displacement(image.shape, limit, rng)

    def warp(picture: FloatArray, border_value: float) -> FloatArray:
        warped = cv2.remap(
            picture,
            from_columns,
            from_rows,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border_value,
        )
        return np.asarray(warped, np.float32)

    return warp(image, outside), warp(mask, 0.0)


def _elastic_displacement(
    shape: tuple[int, ...], limit: float, rng: np.random.Generator
) -> FloatArray:
    """Return smooth random displacements (rows, columns) in pixels, from -limit to limit."""
    coarse = rng.uniform(-limit, limit, (4, 4)).astype(np.float32)
    # Cubic interpolation to the full size would be slow.
    fine = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def augment_batch(
    images: FloatArray,
    masks: TargetArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    mirrored: Sequence[int] = (),
) -> tuple[FloatArray, TargetArray]:
    """Augment n images and masks, as of `augment`, each pair with its own random transform."""
    augmented = [
        augment(i, m, augmentation, rng, mirrored) for i, m in zip(images, masks, strict=True)
    ]
    return np.stack([image for image, _ in augmented]), np.stack([mask for _, mask in augmented])


def _sample_affine(
    shape: tuple[int, ...], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a random 2x3 matrix from source to target (column, row), about the image centre."""
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
    translation = centre - linear @ centre + [shift_x * columns, shift_y * rows]
    return np.column_stack([linear, translation])


def _warp(picture: TargetArray, matrix: NDArray[np.float64], interpolation: int) -> TargetArray:
    warped = cv2.warpAffine(
        picture, matrix, picture.shape[::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, picture.dtype)


def _change_intensity(
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
