"""What a CT is: voxels in the patient, their units, and every decision taken to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.names import printable
from pleura.scan.geometry import Geometry
from pleura.scan.origin import IN_MEMORY, Origin
from pleura.typing import AnyArray

ReadSlices = Callable[[int, int], AnyArray]

_AT_ONCE = 1 << 22
AIR = -1024
"""What stands where nothing was scanned, in HU."""


@dataclass(frozen=True)
class Decision:
    """Something that was decided on the way, with its reason; a warning may change a mask."""

    topic: str
    choice: str
    reason: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.topic}: {self.choice} ({self.reason})"


@dataclass(frozen=True, eq=False, repr=False)
class Scan:
    """A 2-D or 3-D CT: its header is read, its voxels are read when asked for.

    Parameters
    ----------
    name:
        What results are called after; never a patient's name or number.
    geometry:
        The grid of the array.
    read:
        Returns slices ``start`` to ``stop`` as (slices, rows, columns), in the values that the
        file states, with its rescale slope and intercept applied.
    origin:
        What it was read from, with the header of its format.
    decisions:
        What was decided in reading.
    intensity:
        The conversion of the values to HU.
    absent:
        Slices of the grid that were never scanned, or are lost; they read as air.
    """

    name: str
    geometry: Geometry
    read: ReadSlices
    origin: Origin = IN_MEMORY
    decisions: tuple[Decision, ...] = ()
    intensity: IntensityMapping = HU
    absent: frozenset[int] = frozenset()

    @property
    def format(self) -> str:
        """The file format: see `Origin`."""
        return self.origin.format

    @property
    def source(self) -> Path | None:
        """The file or folder that it was read from; None for an object in memory."""
        return self.origin.path

    def values(self, start: int = 0, stop: int | None = None) -> AnyArray:
        """Return slices (slices, rows, columns) in the values that the file states.

        Raises
        ------
        ScanError
            The file is truncated or corrupt, or holds values that are no numbers.
        """
        stop = self.geometry.shape[0] if stop is None else stop
        values = self.read(start, stop)
        if values.shape != (stop - start, *self.geometry.shape[1:]):
            raise ScanError(
                f"the file holds {values.shape} voxels where its header says {self.geometry.shape}",
                where=self.source,
                hint="copy or export the scan again",
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ScanError(
                "the scan holds NaN or infinite values",
                where=self.source,
                hint=f"replace them, for example by {AIR} outside the scanned field",
            )
        return values

    def hu(self, start: int = 0, stop: int | None = None) -> NDArray[np.int16]:
        """Return slices (slices, rows, columns) in HU, rounded, at least -1024."""
        values = self.values(start, stop)
        rows = values.reshape(-1, values.shape[-1])
        found = np.empty(rows.shape, np.int16)
        step = max(_AT_ONCE // rows.shape[1], 1)
        for first in range(0, len(rows), step):  # floats of the whole scan would fill the memory
            found[first : first + step] = self.intensity.to_hu(rows[first : first + step])
        return found.reshape(values.shape)

    @property
    def is_volume(self) -> bool:
        """Whether there is more than one slice."""
        return self.geometry.shape[0] > 1

    @cached_property
    def warnings(self) -> tuple[Decision, ...]:
        """Decisions that may change a mask."""
        return tuple(decision for decision in self.decisions if decision.warning)

    def __str__(self) -> str:
        return f"Scan({printable(self.name)}; {self.geometry}; {self.intensity})"

    __repr__ = __str__


class ReadOnce:
    """Reads a whole array (slices, rows, columns) at the first call, then gives slices of it."""

    def __init__(self, load: Callable[[], AnyArray]) -> None:
        self._load = load
        self._values: AnyArray | None = None

    def __call__(self, start: int, stop: int) -> AnyArray:
        if self._values is None:
            self._values = self._load()
        return self._values[start:stop]


BOTH = 1
"""Labels of a mask: right and left lung; or both as one."""
