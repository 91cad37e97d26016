"""Connected components of a volume, labelled in slabs of a few slices.

Labels of a whole volume would take four times the memory of the mask. Labelling is fast, so slabs
are labelled again when their labels are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from pleura.typing import BoolArray

Labels = NDArray[np.unsignedinteger]

_SLAB = 16
"""Slices that are labelled at a time."""


@dataclass(frozen=True)
class Components:
    """The components of a mask, with 26-connectivity, numbered from 1 by their first voxel.

    Attributes
    ----------
    mask:
        bool (slices, rows, columns).
    tables:
        The component of each label, for each slab.
    sizes:
        int64 (components + 1,): number of voxels of each component, 0 for the background.
    columns:
        float64 (components + 1,): mean column of each component, NaN for the background.
    """

    mask: BoolArray
    tables: tuple[NDArray[np.int64], ...]
    sizes: NDArray[np.int64]
    columns: NDArray[np.float64]

    def slabs(self) -> Iterator[tuple[slice, Labels, NDArray[np.int64]]]:
        """Yield slices, labels and table of each slab; the caller may change its mask.

        The component of a voxel is ``table[label]``.
        """
        labelled = zip(_label_slabs(self.mask), self.tables, strict=True)
        for (slices, labels), table in labelled:
            yield slices, labels[: slices.stop - slices.start], table


def find_components(mask: BoolArray) -> Components:
    """Return the components of a mask (slices, rows, columns)."""
    offsets, sizes, sums, pairs = [0], [np.zeros(1)], [np.zeros(1)], []
    above = None  # labels of the slice after the previous slab, in the order of that slab
    for slices, labels in _label_slabs(mask):
        count = int(labels.max())
        if above is not None:
            is_inside = above > 0
            touching = unique_pairs(above[is_inside], labels[0][is_inside])
            pairs.append(touching + np.array(offsets[-2:]))
        measured = measure_labels(labels[: slices.stop - slices.start], count)
        sizes.append(measured[0][1:])
        sums.append(measured[1][1:])
        offsets.append(offsets[-1] + count)
        above = labels[-1]
    number = merge_labels(offsets[-1], np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
    with np.errstate(invalid="ignore"):
        size, total = (np.bincount(number, np.concatenate(n)) for n in (sizes, sums))
        columns = total / size
    tables = [
        np.concatenate([[0], number[first + 1 : last + 1]]) for first, last in pairwise(offsets)
    ]
    return Components(mask, tuple(tables), size.astype(np.int64), columns)


def merge_labels(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers of the sets of labels that pairs connect, ordered by their smallest labels.

    Parameters
    ----------
    count:
        Number of labels, which start at 1.
    pairs:
        int64 (n, 2).

    Returns
    -------
    int64 (count + 1,)
        The number of the set of each label, from 1; 0 for 0.
    """
    parents = list(range(count + 1))
    for pair in pairs.tolist():
        first, second = (_root(parents, label) for label in pair)
        parents[max(first, second)] = min(first, second)
    numbers = np.zeros(count + 1, np.int64)
    sets = 0
    for label in range(1, count + 1):
        if parents[label] == label:
            sets += 1
            numbers[label] = sets
        else:
            numbers[label] = numbers[parents[label]]
    return numbers


def unique_pairs(
    first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Return the different pairs (n, 2) of the non-negative values of two arrays (voxels,)."""
    is_new = np.ones(len(first), np.bool_)  # most values equal the previous ones: sort few
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    codes = np.unique((first[is_new].astype(np.int64) << 32) + second[is_new])
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], 1)


def measure_labels(
    labels: NDArray[np.unsignedinteger], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return number of voxels and sum of columns of labels 0 to ``count``.

    Parameters
    ----------
    labels:
        Labels (slices, rows, columns), measured as runs of equal labels in rows.
    count:
        Largest label.
    """
    width = labels.shape[-1]
    is_start = np.ones(labels.shape, np.bool_)
    np.not_equal(labels[..., 1:], labels[..., :-1], out=is_start[..., 1:])
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=labels.size)
    columns = lengths * (2 * (starts % width) + lengths - 1) // 2
    label = labels.reshape(-1)[starts]
    sizes, sums = (np.bincount(label, weights, count + 1) for weights in (lengths, columns))
    return sizes.astype(np.float64), sums.astype(np.float64)


def bounding_box(mask: BoolArray) -> tuple[slice, ...] | None:
    """Return the bounding box of a mask (slices, rows, columns); None if the mask is empty."""
    slices = np.flatnonzero([plane.any() for plane in mask])
    if not len(slices):
        return None
    projection = np.asarray(mask[slices[0] : slices[-1] + 1].any(0))
    hits = slices, *(np.flatnonzero(projection.any(axis)) for axis in (1, 0))
    return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in hits)


def _label_slabs(mask: BoolArray) -> Iterator[tuple[slice, Labels]]:
    """Yield slices and labels of each slab; the labels include the first slice of the next one."""
    for start in range(0, len(mask), _SLAB):
        stop = min(start + _SLAB, len(mask))
        yield slice(start, stop), cc3d.connected_components(mask[start : stop + 1], connectivity=26)


def _root(parents: list[int], label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label
