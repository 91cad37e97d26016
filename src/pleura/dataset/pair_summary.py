"""What a check keeps of an image-mask pair, instead of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.class_files import require_same_size
from pleura.dataset.duplicates import pixel_hash, thumbnail
from pleura.dataset.images_2d import read_image_2d
from pleura.dataset.mask_orientation import measure_orientation_fits
from pleura.dataset.pair_reader import (
    PairReader,
)
from pleura.dataset.pairs import Pair, expand_slices
from pleura.errors import PleuraError
from pleura.intensity.levels import Levels, measure_levels
from pleura.masks.exchanged import require_not_exchanged
from pleura.masks.selection import selects_lungs
from pleura.scan.bit_field import has_label
from pleura.scan.labels import class_labels
from pleura.typing import AnyArray, FloatArray

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class PairSummary:
    """Measurements of an image-mask pair; None where a file cannot be read.

    Parameters
    ----------
    pair:
        The pair.
    levels:
        Intensity levels of the image, in the units of its file.
    size, dtype:
        Size, such as ``512x512``, and dtype of the image.
    image_hash, mask_hash:
        Hashes of the pixels.
    thumbnail:
        See `pleura.dataset.duplicates.thumbnail`.
    lung_fraction:
        Lung fraction of the mask area; of all labels, if the masks have several.
    label_fractions:
        Fraction of the mask area of each of several labels.
    overlap:
        Number of pixels in the mask files of several classes.
    orientation_fits:
        See `pleura.dataset.mask_orientation.measure_orientation_fits`; None for an empty mask.
    errors:
        Why files cannot be read or do not fit.
    """

    pair: Pair
    levels: Levels | None = None
    size: str = ""
    dtype: str = ""
    image_hash: bytes | None = None
    mask_hash: bytes | None = None
    thumbnail: FloatArray | None = None
    lung_fraction: float | None = None
    label_fractions: tuple[float, ...] = ()
    overlap: int = 0
    orientation_fits: FloatArray | None = None
    errors: tuple[PleuraError, ...] = ()


def summarise_file(pair: Pair, reader: PairReader) -> Iterator[PairSummary]:
    """Yield one summary per slice of a volume; a single one if a file is unreadable."""
    for one in _collect_error(lambda: list(expand_slices(pair)), []) or [pair]:
        summary = _summarise_pair(one, reader)
        yield summary
        if summary.errors:  # of the whole volume
            return


def _summarise_pair(pair: Pair, reader: PairReader) -> PairSummary:
    """Read and measure a pair; errors are part of the result."""
    errors: list[PleuraError] = []
    image: AnyArray | None
    mask: NDArray[np.uint8] | None
    if pair.index is None:  # one by one: the other file is measured where one cannot be read
        image = _collect_error(lambda: read_image_2d(pair.image), errors)
        mask = _collect_error(lambda: reader.read_mask_2d(pair), errors)
        if errors:
            exchanged: list[PleuraError] = []
            _collect_error(lambda: require_not_exchanged(pair.image, pair.mask), exchanged)
            if exchanged:  # measurements of a mask as an image would cause further findings
                return PairSummary(pair, errors=tuple(exchanged))
    else:
        image, mask = _collect_error(lambda: reader.read(pair), errors) or (None, None)
    if image is not None and mask is not None:
        shapes = image.shape, mask.shape
        _collect_error(lambda: require_same_size(pair, *shapes), errors)
    summary = PairSummary(pair, errors=tuple(errors))
    if image is not None:
        summary = replace(
            summary,
            levels=measure_levels(reader.stored_values(pair, image)),
            size="x".join(str(side) for side in image.shape),
            dtype=str(image.dtype),
            image_hash=pixel_hash(image),
            thumbnail=thumbnail(image),
        )
    if mask is not None:
        layers = (has_label(mask, label) for label in class_labels(reader.labels).values())
        summary = replace(
            summary,
            mask_hash=pixel_hash(mask),
            lung_fraction=float((mask > 0).mean()),
            label_fractions=tuple(float(layer.mean()) for layer in layers),
            overlap=reader.count_overlap(pair),
        )
    # The fits are those of lungs.
    fits_lungs = selects_lungs(pair.roi) and not (errors or reader.labels)
    if image is not None and mask is not None and fits_lungs and mask.any():
        summary = replace(summary, orientation_fits=measure_orientation_fits(image, mask))
    return summary


def _collect_error(read: Callable[[], T], errors: list[PleuraError]) -> T | None:
    try:
        return read()
    except PleuraError as error:
        errors.append(error)
        return None
