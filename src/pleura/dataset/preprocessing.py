"""Preprocessing: intensity scaling and resampling to the grid of the network, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import model_validator

from pleura.dataset.duplicates import THUMBNAIL_PIXELS, thumbnail, value_hash
from pleura.dataset.lung_input import LungInput
from pleura.dataset.opencv import cv2
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.recipe_model import RecipeModel
from pleura.errors import DataError
from pleura.files.arrays import allocate_array
from pleura.scan.bit_field import BIT_DTYPE, has_label, stack_bits
from pleura.scan.context import NO_CONTEXT, SliceContext
from pleura.scan.labels import Label, may_overlap
from pleura.typing import AnyArray, FloatArray, Progress, TargetArray

_INTERPOLATION = {"lanczos": "INTER_LANCZOS4", "nearest": "INTER_NEAREST", "area": "INTER_AREA"}
"""Constants of OpenCV."""


MAX_SIDE = 4096
"""Largest number of rows and columns of the network's grid; CT slices have 512 or 1024."""


class Preprocessing(RecipeModel):
    """How images and masks are converted to inputs and targets of the network."""

    scaling: Literal["max", "minmax", "window"] = "max"
    """`max` divides by the maximum (the exercise's code), `minmax` maps minimum and maximum to
    [0, 1] (the exercise's text), `window` maps the limits of `window` to [0, 1] and clips. With
    `data.context`, minimum and maximum are those of a slice and its neighbours together."""
    window: tuple[float, float] = (-1024.0, 600.0)
    """Lower and upper limit of the window, in the stored units of the images."""
    size: tuple[int, int] = (128, 128)
    """Rows and columns of the network's grid."""
    image_interpolation: Literal["lanczos", "area"] = "lanczos"
    """`lanczos`: over 8x8 neighbours, not anti-aliased (the exercise); `area`: the mean of the
    pixels that a larger one covers."""
    mask_interpolation: Literal["nearest", "area"] = "nearest"
    """`nearest`: the upper left of the pixels that a larger one covers (OpenCV, the exercise);
    `area`: the fraction of them that is lung, a soft target; with `data.labels`, the label of most
    of them."""

    @model_validator(mode="after")
    def _possible(self) -> Preprocessing:
        if self.window[0] >= self.window[1]:
            raise ValueError("window: the lower limit must be below the upper limit")
        if max(map(abs, self.window)) > 1e9:
            raise ValueError("window: must be from -1e9 to 1e9")
        if min(self.size) < 8 or max(self.size) > MAX_SIDE:
            raise ValueError(f"size: must be 8 to {MAX_SIDE} rows and columns")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class PreprocessedPairs:
    """The image-mask pairs of a data set on the grid of the network.

    Parameters
    ----------
    names:
        Names of the pairs.
    images:
        float32 (n, rows, columns); with neighbouring slices (n, channels, rows, columns).
    masks:
        float32 (n, rows, columns) in [0, 1]; with several classes, uint8 class indices, or uint16
        bit fields of classes that may overlap.
    fingerprint:
        SHA-256 of every name, image (with its neighbouring slices) and mask as stored.
    preprocessing:
        How the pairs were preprocessed.
    hashes:
        `value_hash` of each image; empty for a constant image.
    thumbnails:
        float32 (n, 2304), see `thumbnail`.
    without_lung:
        Names of the images in which a cascade found no lung; their images and masks are 0.
    """

    names: tuple[str, ...]
    images: FloatArray
    masks: TargetArray
    fingerprint: str
    preprocessing: Preprocessing
    hashes: tuple[bytes, ...]
    thumbnails: FloatArray
    without_lung: tuple[str, ...] = ()

    def pixel_hashes(self) -> dict[str, str]:
        """Return a hash of each image by name; copies have equal hashes, constant images none."""
        return {name: one.hex()[:32] for name, one in zip(self.names, self.hashes, strict=True)}

    def rows(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return the rows of the arrays that have these names, in this order."""
        row = {name: i for i, name in enumerate(self.names)}
        return np.array([row[name] for name in names], np.intp)

    def select(self, names: Sequence[str]) -> tuple[FloatArray, TargetArray]:
        """Return copies of the images and masks with these names, in this order."""
        rows = self.rows(names)
        return self.images[rows], self.masks[rows]


def preprocess_pairs(
    pairs: Sequence[Pair],
    preprocessing: Preprocessing,
    progress: Progress | None = None,
    labels: tuple[Label, ...] = (),
    context: SliceContext = NO_CONTEXT,
    lungs: LungInput | None = None,
) -> PreprocessedPairs:
    """Read and preprocess image-mask pairs; only the results are kept, see `allocate_array`.

    Parameters
    ----------
    pairs, preprocessing:
        The pairs, and the section of the recipe.
    progress:
        Called with the number of pairs that were read, and of all pairs.
    labels:
        The classes of the masks; empty if all masks are lungs.
    context:
        The neighbouring slices of the input.
    lungs:
        Crops and masks the images of a cascade. Hashes and thumbnails are those of whole images.

    Raises
    ------
    DataError
        A pair cannot be read or has no neighbouring slices, or the disk is full.
    """
    digest = hashlib.sha256()
    channels = (context.channels,) if context.slices else ()
    try:
        shape = len(pairs), *channels, *preprocessing.size
        images = allocate_array(shape, np.float32, "the preprocessed images")
        shape = len(pairs), *preprocessing.size
        masks = allocate_array(shape, target_dtype(labels), "the preprocessed masks")
    except MemoryError as error:
        raise DataError(
            f"{len(pairs)} images of {' x '.join(map(str, preprocessing.size))} pixels do not fit "
            "into memory",
            where="recipe key 'preprocessing.size'",
            hint="choose a smaller size, or use fewer images",
        ) from error
    hashes: list[bytes] = []
    shape = len(pairs), THUMBNAIL_PIXELS
    thumbnails = allocate_array(shape, np.float32, "the thumbnails")
    without_lung: list[str] = []
    reader = PairReader(labels, context)
    for i, pair in enumerate(pairs):
        image, mask = reader.read(pair)
        stack = reader.read_input(pair, image)
        digest.update(f"{pair.name} {stack.dtype.str} {stack.shape}".encode())
        digest.update(np.ascontiguousarray(stack).data)
        digest.update(mask.data)
        hashes.append(b"" if image.min() == image.max() else value_hash(image))
        thumbnails[i] = thumbnail(image)
        if progress is not None:
            progress(i + 1, len(pairs))
        if lungs is not None:
            region = lungs.region(pair, image.shape)
            if region is None:
                images[i], masks[i] = 0, 0
                without_lung.append(pair.name)
                continue
            stack, mask = region.cut(stack), region.cut_mask(mask)
        images[i] = preprocess_image(stack, preprocessing, where=str(pair.image))
        masks[i] = (
            preprocess_label_map(mask, preprocessing, len(labels))
            if labels
            else preprocess_mask(mask, preprocessing)
        )
    names = tuple(pair.name for pair in pairs)
    return PreprocessedPairs(
        names,
        images,
        masks,
        digest.hexdigest(),
        preprocessing,
        tuple(hashes),
        thumbnails,
        tuple(without_lung),
    )


def preprocess_image(
    image: AnyArray, preprocessing: Preprocessing, where: str = "image"
) -> FloatArray:
    """Scale and resample an image to float32 on the network's grid.

    It is (rows, columns), or with neighbouring slices (channels, rows, columns).

    Raises
    ------
    DataError
        `max` scaling of an image whose maximum is not positive.
    """
    scaled = scale_intensity(image.astype(np.float32), preprocessing, where)
    size, interpolation = preprocessing.size, preprocessing.image_interpolation
    if scaled.ndim == 2:
        return _resize(scaled, size, interpolation)
    return np.stack([_resize(channel, size, interpolation) for channel in scaled])


def preprocess_mask(mask: NDArray[np.uint8], preprocessing: Preprocessing) -> FloatArray:
    """Resample a mask (rows, columns) of 0 and 1 to a float32 target on the network's grid."""
    return _resize(mask.astype(np.float32), preprocessing.size, preprocessing.mask_interpolation)


def target_dtype(labels: Sequence[Label]) -> DTypeLike:
    """Return the dtype of the masks of `PreprocessedPairs`."""
    if may_overlap(labels):
        return BIT_DTYPE
    return np.uint8 if labels else np.float32


def preprocess_label_map(
    indices: AnyArray, preprocessing: Preprocessing, classes: int
) -> TargetArray:
    """Resample a label map (rows, columns) to the network's grid.

    Parameters
    ----------
    indices:
        uint8 (rows, columns): class indices from 0, background; or uint16: a bit field.
    preprocessing:
        With the interpolation `area`, a pixel gets the class that covers the largest part of it; of
        classes that may overlap, those that cover half of it.
    classes:
        Number of classes without background.
    """
    if indices.shape == preprocessing.size:
        return indices
    if preprocessing.mask_interpolation == "nearest":
        resized = cv2.resize(indices, preprocessing.size[::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized, indices.dtype)
    if indices.dtype == BIT_DTYPE:
        masks = (has_label(indices, 1 << i).astype(np.uint8) for i in range(classes))
        return stack_bits((preprocess_mask(m, preprocessing) >= 0.5 for m in masks), classes)
    fractions = [
        preprocess_mask((indices == i).astype(np.uint8), preprocessing) for i in range(classes + 1)
    ]
    return np.asarray(np.argmax(fractions, 0), np.uint8)


def resample_probability(
    probability: FloatArray, size: tuple[int, int], preprocessing: Preprocessing
) -> FloatArray:
    """Resample a probability map from the network's grid to the grid of an image, bilinearly.

    This is the inverse of `preprocess_mask`, including its offset. Nearest-neighbour interpolation
    of OpenCV selects pixel ``floor(i * step)`` instead of the pixel at the centre, so predictions
    of a network trained on such masks are shifted up and left by ``(step - 1) / 2`` pixels. The
    interpolation `area` causes no shift.

    Parameters
    ----------
    probability:
        float32 (rows, columns), on the grid of the network.
    size:
        Rows and columns of the image.
    preprocessing:
        Preprocessing of the network.

    Returns
    -------
    ndarray
        float32, of shape ``size``.
    """
    rows, columns = probability.shape
    if (rows, columns) == size:
        return probability
    shift = 0.0 if preprocessing.mask_interpolation == "nearest" else 0.5
    y = (np.arange(size[0], dtype=np.float32) + shift) * (rows / size[0]) - shift
    x = (np.arange(size[1], dtype=np.float32) + shift) * (columns / size[1]) - shift
    across = _interpolate_rows(np.ascontiguousarray(probability.T), x).T
    return _interpolate_rows(np.ascontiguousarray(across), y)


def _interpolate_rows(values: FloatArray, positions: FloatArray) -> FloatArray:
    """Interpolate linearly between rows, and repeat the first and the last row beyond them.

    OpenCV 4 rounds the positions of `cv2.remap` to 1/32 pixel, which changes steep probabilities by
    more than 0.01.
    """
    first = positions.astype(np.intp).clip(0, len(values) - 1)
    second = np.minimum(first + 1, len(values) - 1)
    weights = (positions - first).clip(0, 1).astype(np.float32)[:, None]
    interpolated: FloatArray = values[first] + weights * (values[second] - values[first])
    return interpolated


def resize_nearest(mask: NDArray[np.float32], size: tuple[int, int]) -> FloatArray:
    """Resample a map (rows, columns) with nearest-neighbour interpolation of OpenCV."""
    return _resize(mask, size, "nearest")


def scale_intensity(
    image: FloatArray, preprocessing: Preprocessing, where: str = "image"
) -> FloatArray:
    """Scale the stored values of an image to the input values of the network.

    Raises
    ------
    DataError
        `max` scaling of an image whose maximum is not positive.
    """
    if preprocessing.scaling == "window":
        low, high = preprocessing.window
        return np.asarray(np.clip((image - low) / (high - low), 0, 1), np.float32)
    low, high = float(image.min()), float(image.max())
    if preprocessing.scaling == "minmax":
        if high == low:  # a slice of padding
            return np.zeros_like(image)
        return (image - low) / (high - low)
    if high <= 0:
        raise DataError(
            f"the maximum of the image is {high:g}; scaling 'max' requires a positive maximum",
            where=where,
            hint="use scaling 'minmax' or 'window', such as --set preprocessing.scaling=minmax",
        )
    return image / np.float32(high)


def _resize(picture: FloatArray, size: tuple[int, int], interpolation: str) -> FloatArray:
    if picture.shape == size:
        return picture
    method = getattr(cv2, _INTERPOLATION[interpolation])
    resized = cv2.resize(picture, size[::-1], interpolation=method)
    return np.asarray(resized, np.float32)
