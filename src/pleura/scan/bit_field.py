"""Overlapping classes as a bit field: bit i of a voxel is set if it belongs to class i.

Arrays of labels are uint8. Bit fields are uint16, so that both kinds differ in their dtype, and the
label of class i is ``1 << i``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.typing import AnyArray, BoolArray

MAX_OVERLAPPING = 16
"""Largest number of classes that may overlap: the bits of a voxel."""

BIT_DTYPE = np.uint16
"""dtype of the bit field of a mask."""

BitField = NDArray[Any]
"""uint16 of up to 16 classes, else uint32."""


def stack_bits(layers: Iterable[AnyArray], classes: int) -> BitField:
    """Return the bit field of layers of one shape, each not 0 where a voxel belongs to its class.

    Parameters
    ----------
    layers:
        One per class; read one after the other.
    classes:
        Number of classes, at least 1 and at most 32.
    """
    dtype = np.dtype(BIT_DTYPE if classes <= MAX_OVERLAPPING else np.uint32)
    remaining = iter(layers)
    bits: BitField = (next(remaining) != 0).astype(dtype)
    for i, layer in enumerate(remaining, 1):
        bits[layer != 0] |= dtype.type(1 << i)
    return bits


def bits_of_indices(indices: NDArray[np.uint8]) -> BitField:
    """Return the bit field of 1 plus the index of the class of each voxel; 0 is background."""
    table = np.array([0, *(1 << i for i in range(MAX_OVERLAPPING))], BIT_DTYPE)
    bits: BitField = table[indices]
    return bits


def any_bits(bits: BitField) -> int:
    """Return the bits that any voxel has."""
    return int(np.bitwise_or.reduce(bits, axis=None))


def has_label(labels: AnyArray, label: int) -> BoolArray:
    """Return which voxels have a label: of a bit field, that have this bit; else that are equal."""
    if labels.dtype != BIT_DTYPE:
        return np.asarray(labels == label, np.bool_)
    return np.asarray((labels & BIT_DTYPE(label)) != 0, np.bool_)


def highest_class(bits: BitField) -> NDArray[np.uint8]:
    """Return 1 plus the index of the last class of each voxel; 0 is background."""
    return np.frexp(bits.astype(np.float64))[1].astype(np.uint8)


def in_several(bits: BitField) -> BoolArray:
    """Return which voxels belong to more than one class."""
    one = bits.dtype.type(1)
    several: BoolArray = (bits & (np.maximum(bits, one) - one)) != 0
    return several
