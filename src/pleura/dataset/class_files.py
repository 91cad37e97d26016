"""One mask file per class, and the sizes of the files of a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pairs import Pair
from pleura.errors import DataError
from pleura.scan.bit_field import BitField, stack_bits


def read_bits_2d(pair: Pair, read: Callable[[Path], NDArray[np.uint8]]) -> BitField:
    """Read the mask files of the classes of an image file, each with the function ``read``.

    Raises
    ------
    DataError
        A file cannot be read, or the files differ in size.
    """
    first = read(pair.mask)

    def layers() -> Iterator[NDArray[np.uint8]]:
        yield first
        for path in pair.class_masks[1:]:
            layer = read(path)
            require_same_size(pair, first.shape, layer.shape, (pair.mask, path))
            yield layer

    return stack_bits(layers(), len(pair.class_masks))


def require_same_size(
    pair: Pair,
    image: tuple[int, ...],
    mask: tuple[int, ...],
    masks: tuple[Path, Path] | None = None,
) -> None:
    """Require image and mask, or two masks of one image, to have the same rows and columns.

    Raises
    ------
    DataError
        The shapes differ.
    """
    if image != mask:
        sizes = ["x".join(str(side) for side in shape[:2]) for shape in (image, mask)]
        first, second = masks or (pair.image, pair.mask)
        raise DataError(
            f"{'two masks' if masks else 'image and mask'} differ in size: {' and '.join(sizes)}",
            where=f"{first} and {second}",
            hint="export both on the same grid",
        )
