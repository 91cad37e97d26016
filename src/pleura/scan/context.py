"""Neighbouring slices as further channels of the input of a network (2.5-D)."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SLICES, MAX_DISTANCE = 8, 50.0
"""Largest number of neighbours on each side, and largest distance between channels in mm."""

_TIE = 1e-3
"""Of two slices whose distances differ by less than this, in slices, the nearer one is used."""


@dataclass(frozen=True)
class SliceContext:
    """The slices that a network gets with each slice.

    Parameters
    ----------
    slices:
        Number of neighbours on each side; 0: the slice alone.
    distance:
        Distance between the channels in mm, of which the nearest slice is used; None: adjacent
        slices.
    """

    slices: int = 0
    distance: float | None = None

    @property
    def channels(self) -> int:
        """Number of slices with the slice itself."""
        return 2 * self.slices + 1

    def offsets(self, spacing: float | None) -> list[int]:
        """Return the offset of each channel in slices, from foot to head.

        Parameters
        ----------
        spacing:
            Distance of the slices in mm; None if it is not known: then adjacent slices are used.
        """
        step = 1.0 if spacing is None or self.distance is None else self.distance / spacing
        above = [math.ceil(i * step - 0.5 - _TIE) for i in range(1, self.slices + 1)]
        return [-offset for offset in above[::-1]] + [0, *above]

    def neighbours(
        self, count: int, spacing: float | None, missing: Collection[int] = ()
    ) -> NDArray[np.intp]:
        """Return the index of each channel of each slice, (slices, channels).

        Beyond the ends of the scan, the outermost slice is repeated. The nearest present slice
        replaces a missing one. All channels of a missing slice are this slice, so that neighbours
        do not add a mask to it.

        Parameters
        ----------
        count:
            Number of slices.
        spacing:
            As for `offsets`.
        missing:
            Indices of missing slices.
        """
        slices = np.arange(count)[:, None]
        table = (slices + self.offsets(spacing)).clip(0, count - 1)
        if missing and len(present := np.setdiff1d(slices, list(missing))):
            for index, channel in np.argwhere(np.isin(table, list(missing))):
                wanted = table[index, channel]
                # Of two at the same distance, the one nearer to the slice.
                distance = 2 * count * np.abs(present - wanted) + np.abs(present - index)
                table[index, channel] = present[np.argmin(distance)]
            table[list(missing)] = np.array(list(missing))[:, None]
        return table


NO_CONTEXT = SliceContext()
"""The context of a 2-D network: none."""
