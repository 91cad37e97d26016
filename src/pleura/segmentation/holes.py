"""Holes of a lung mask: background that lung encloses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from pleura.segmentation.components import merge_labels, unique_pairs
from pleura.typing import BoolArray

SMALL_HOLE, SMALL_HOLE_2D = 0.0005, 0.003
"""Maximum size of a hole in one slice that is filled (vessels), relative to the size of the slice;
in volumes and in single slices. Holes of a volume that lung encloses on all sides are filled
whatever their size."""


@dataclass(frozen=True)
class _SliceHoles:
    """The voxels of the holes of a slice.

    Attributes
    ----------
    voxels:
        int32 (n,): index of each voxel in the flattened slice.
    labels:
        int32 (n,): the hole of each voxel; holes of all slices are numbered from 1.
    """

    voxels: NDArray[np.int32]
    labels: NDArray[np.int32]


def fill_holes(lung: BoolArray, slice_size: int) -> BoolArray:
    """Fill small holes of each slice, and holes of a volume that lung encloses, in place.

    Other holes of a slice stay, since the dome of the liver is one.

    Parameters
    ----------
    lung:
        bool (slices, rows, columns).
    slice_size:
        Number of voxels of a slice of the scan.
    """
    holes, sizes = [], [0]
    for plane in lung:
        holes.append(_find_holes(plane, len(sizes) - 1))
        sizes.extend(np.bincount(holes[-1].labels - len(sizes) + 1)[1:].tolist())
    is_filled = np.array(sizes) <= (SMALL_HOLE_2D if len(lung) == 1 else SMALL_HOLE) * slice_size
    if len(lung) > 1:
        is_filled |= _enclosed(lung, holes, len(sizes) - 1)
    for plane, found in zip(lung, holes, strict=True):
        filled = found.voxels[is_filled[found.labels]]
        plane[np.unravel_index(filled, plane.shape)] = True
    return lung


def _find_holes(plane: BoolArray, previous: int) -> _SliceHoles:
    """Return the holes of a slice, numbered after ``previous`` ones."""
    rows, columns = (np.flatnonzero(plane.any(axis)) for axis in (1, 0))
    if not len(rows):
        return _SliceHoles(np.zeros(0, np.int32), np.zeros(0, np.int32))
    inside = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    background = np.pad(~inside, 1, constant_values=True)
    components = cc3d.connected_components(background, connectivity=4)  # 1 is outside
    row, column = np.nonzero(components > 1)
    voxels = (row + rows[0] - 1) * plane.shape[1] + column + columns[0] - 1
    labels = components[row, column].astype(np.int32) + np.int32(previous - 1)
    return _SliceHoles(voxels.astype(np.int32), labels)


def _enclosed(lung: BoolArray, holes: Sequence[_SliceHoles], count: int) -> BoolArray:
    """Return which holes of slices lung also encloses from above and below."""
    leaks = np.zeros(count + 1, np.bool_)
    pairs = [np.zeros((0, 2), np.int64)]
    labels = np.zeros(lung[0].size, np.int32)  # of one slice at a time
    for i, found in enumerate(holes):
        for j in (i - 1, i + 1):
            if not 0 <= j < len(lung):
                leaks[found.labels] = True
                continue
            labels[holes[j].voxels] = holes[j].labels
            neighbours = labels[found.voxels]
            labels[holes[j].voxels] = 0
            is_outside = (neighbours == 0) & ~lung[j].reshape(-1)[found.voxels]
            leaks[found.labels[is_outside]] = True
            if j > i:
                is_hole = neighbours > 0
                pairs.append(unique_pairs(found.labels[is_hole], neighbours[is_hole]))
    numbers = merge_labels(count, np.concatenate(pairs))
    return np.asarray(np.bincount(numbers, leaks)[numbers] == 0)
