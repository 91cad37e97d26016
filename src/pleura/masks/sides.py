"""Sides of labels: whether those of the right lung are to the right of those of the left."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pleura.scan.geometry import Geometry
from pleura.scan.labels import LEFT, RIGHT
from pleura.typing import AnyArray

SWAPPED = "label 1 is on the left side of label 2: right and left may be swapped"
"""The reason of the warning about labels that `are_swapped`."""


def are_swapped(labels: AnyArray, geometry: Geometry) -> bool:
    """Return whether label 1 is on the left side of label 2."""
    both = bool((labels == RIGHT).any() and (labels == LEFT).any())
    known = geometry.orientation_known
    return known and both and not are_on_sides(labels, geometry, {RIGHT}, {LEFT})


def are_on_sides(
    labels: AnyArray, geometry: Geometry, right: Collection[int], left: Collection[int]
) -> bool:
    """Return whether each label of the right lung is to the right of each label of the left."""
    across = geometry.to_canonical().apply(labels)
    column = np.arange(across.shape[2])

    def middle(label: int) -> float:
        counts = (across == label).sum((0, 1))
        return float((counts * column).sum() / counts.sum())

    return max(map(middle, right)) < min(map(middle, left))
