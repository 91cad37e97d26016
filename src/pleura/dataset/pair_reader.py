"""Reading of image-mask pairs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.class_files import read_bits_2d, require_same_size
from pleura.dataset.images_2d import read_image_2d, read_mask_2d
from pleura.dataset.pairs import Pair
from pleura.dataset.volumes import Volume, read_volume, read_volume_bits, read_volume_mask
from pleura.errors import DataError
from pleura.masks.exchanged import detect_exchanged
from pleura.scan.bit_field import (
    BIT_DTYPE,
    BitField,
    bits_of_indices,
    highest_class,
    in_several,
)
from pleura.scan.context import NO_CONTEXT, SliceContext
from pleura.scan.geometry import Geometry
from pleura.scan.labels import Label, may_overlap
from pleura.typing import AnyArray


class PairReader:
    """Read pairs, and keep the last volume and the last mask in memory.

    The slices of a volume are thus read from one decoded file if they are requested one after the
    other. Use one reader for one pass over a data set: a file that changes during the lifetime of
    the reader may not be read again.

    Parameters
    ----------
    labels:
        The classes of the masks; empty if all masks are lungs.
    context:
        The neighbouring slices that `read_input` returns.
    """

    def __init__(self, labels: tuple[Label, ...] = (), context: SliceContext = NO_CONTEXT) -> None:
        self.labels = labels
        self.context = context
        self._volume = lru_cache(maxsize=1)(read_volume)
        self._volume_mask = lru_cache(maxsize=1)(read_volume_mask)
        self._volume_bits = lru_cache(maxsize=1)(read_volume_bits)

    def read(self, pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
        """Read image and mask of a pair.

        Returns
        -------
        image:
            (rows, columns); int16 in HU for a slice of a volume, else in the stored units divided
            by `Pair.factor`.
        mask:
            uint8 (rows, columns), 0 and 1; with ``labels``, 1 plus the index of the class. Of
            classes that may overlap, a bit field, uint16.

        Raises
        ------
        DataError
            A file cannot be read (see `read_image_2d`, `read_mask_2d`), or the two differ in size.
        """
        read = self._read_2d if pair.index is None else self._read_slice
        with detect_exchanged(pair.image, pair.mask):
            image, mask = read(pair)
        return _divided(image, pair.factor), mask

    def read_input(self, pair: Pair, image: AnyArray) -> AnyArray:
        """Return the input of the network; ``image`` is what `read` returned.

        Returns
        -------
        ndarray
            ``image``; with a context, the slice and its neighbours (channels, rows, columns) from
            foot to head, in the same units.

        Raises
        ------
        DataError
            The image has no neighbours, or their distance is not known.
        """
        if not self.context.slices:
            return image
        volume = None if pair.index is None else self._volume(pair.image)
        if volume is None or len(volume.hu) == 1:
            raise DataError(
                "the image is a single slice, and the recipe requires neighbouring slices "
                "(data.context)",
                where=pair.image,
                hint="pass volumes (NIfTI, NRRD, MetaImage), or set data.context.slices to 0",
            )
        grid = volume.geometry
        if self.context.distance is not None and not grid.spacing_known:
            raise DataError(
                "the distance of the slices is unknown, and the recipe requires it "
                "(data.context.distance)",
                where=pair.image,
                hint="add the spacing to the header, or set data.context.distance to null",
            )
        table = self.context.neighbours(len(volume.hu), grid.orthogonal_spacing[0], volume.missing)
        stack: AnyArray = volume.hu[table[pair.index]]
        return _divided(stack, pair.factor)

    def stored_values(self, pair: Pair, image: AnyArray) -> AnyArray:
        """Return the image of a pair in the units of its file; ``image`` is what `read` returned.

        Raises
        ------
        DataError
            The file cannot be read.
        """
        if pair.index is None:
            return image
        values: AnyArray = self._volume(pair.image).stored[pair.index]
        return values

    def read_mask_2d(self, pair: Pair) -> NDArray[np.uint8]:
        """Read the mask of an image file, as `read` returns it.

        Raises
        ------
        DataError
            A file cannot be read (see `read_mask_2d`), or the files of classes differ in size.
        """
        if pair.class_masks:
            return self._targets(read_bits_2d(pair, read_mask_2d))
        indices = read_mask_2d(pair.mask, self.labels, pair.roi)
        return bits_of_indices(indices) if may_overlap(self.labels) else indices

    def _targets(self, bits: BitField) -> BitField:
        """Return the classes of pixels as `read` returns them."""
        return bits if may_overlap(self.labels) else highest_class(bits)

    def count_overlap(self, pair: Pair) -> int:
        """Return the number of pixels in the masks of several classes; 0 for a single mask file.

        Raises
        ------
        DataError
            As `read`.
        """
        if not pair.class_masks:
            return 0
        if pair.index is None:
            bits = read_bits_2d(pair, read_mask_2d)
        else:
            bits = self._read_volume_bits(pair, self._volume(pair.image))[0][pair.index]
        return int(np.count_nonzero(in_several(bits)))

    def _read_volume_bits(self, pair: Pair, volume: Volume) -> tuple[BitField, Geometry]:
        where = volume.geometry, volume.origin, volume.order
        return self._volume_bits(pair.class_masks, self.labels, *where)

    def _read_2d(self, pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
        image = read_image_2d(pair.image)
        if pair.no_lung:
            return image, np.zeros(image.shape, BIT_DTYPE if may_overlap(self.labels) else np.uint8)
        mask = self.read_mask_2d(pair)
        require_same_size(pair, image.shape, mask.shape)
        return image, mask

    def _read_slice(self, pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
        volume = self._volume(pair.image)
        image = volume.hu[pair.index]
        if pair.no_lung:
            return image, np.zeros(image.shape, BIT_DTYPE if may_overlap(self.labels) else np.uint8)
        # Arguments of a cached function must be hashable.
        roi = tuple(pair.roi.items()) if isinstance(pair.roi, Mapping) else pair.roi
        if pair.class_masks:
            bits, grid = self._read_volume_bits(pair, volume)
            mask = self._targets(bits[pair.index])
        else:
            labels, grid = self._volume_mask(
                pair.mask, volume.geometry, volume.origin, volume.order, self.labels, roi
            )
            mask = labels[pair.index]
        if not grid.matches(volume.geometry):
            raise DataError(
                f"image and mask have different grids: {volume.geometry.describe_difference(grid)}",
                where=f"{pair.image} and {pair.mask}",
                hint="export the mask on the grid of the image",
            )
        return image, mask


def _divided(image: AnyArray, factor: float) -> AnyArray:
    """Return stored values divided by a factor, rounded to int16; unchanged if it is 1."""
    if factor == 1:
        return image
    limits = np.iinfo(np.int16)
    divided: AnyArray = np.rint((image / factor).clip(limits.min, limits.max)).astype(np.int16)
    return divided


def read_pair(pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
    """Read one pair; for many slices of a volume, use one `PairReader`.

    Returns
    -------
    image, mask:
        As `PairReader.read`.

    Raises
    ------
    DataError
        As `PairReader.read`.
    """
    return PairReader().read(pair)
