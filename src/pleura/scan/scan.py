"""What a CT is: voxels in the patient, their units, and every decision taken to read them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import MaskWarning, ScanError
from pleura.names import printable
from pleura.scan.geometry import Geometry
from pleura.scan.hounsfield import HU, Line

Values = NDArray[Any]
ReadSlices = Callable[[int, int], Values]

_AT_ONCE = 1 << 22
AIR = -1024
"""What stands where nothing was scanned, in HU."""


@dataclass(frozen=True)
class Decision:
    """Something that was decided on the way, with its reason; a warning may change a mask."""

    about: str
    choice: str
    reason: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.choice} ({self.reason})"


@dataclass(frozen=True)
class Flag:
    """A reason to check a mask before it is used."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


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
    format:
        ``DICOM``, ``NIfTI``, ``NRRD``, ``MetaImage``, ``TIFF``, ``PNG``, ``JPEG`` or ``array``.
    source:
        File or folder that it was read from.
    header:
        What a mask of this scan needs of the file's header to be written alike.
    decisions:
        What was decided in reading.
    absent:
        Slices of the grid that were never scanned, or are lost; they read as air.
    """

    name: str
    geometry: Geometry
    read: ReadSlices
    format: str = "array"
    source: Path | None = None
    header: Any = None
    decisions: tuple[Decision, ...] = ()
    line: Line = HU
    absent: frozenset[int] = frozenset()

    def values(self, start: int = 0, stop: int | None = None) -> Values:
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
                fix="copy or export the scan again",
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ScanError(
                "the scan holds NaN or infinite values",
                where=self.source,
                fix=f"replace them, for example by {AIR} outside the scanned field",
            )
        return values

    def hu(self, start: int = 0, stop: int | None = None) -> NDArray[np.int16]:
        """Return slices (slices, rows, columns) in HU, rounded, at least -1024."""
        values = self.values(start, stop)
        rows = values.reshape(-1, values.shape[-1])
        found = np.empty(rows.shape, np.int16)
        step = max(_AT_ONCE // rows.shape[1], 1)
        for first in range(0, len(rows), step):  # floats of the whole scan would fill the memory
            found[first : first + step] = self.line.to_hu(rows[first : first + step])
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
        return f"Scan({printable(self.name)}; {self.geometry}; {self.line})"

    __repr__ = __str__


class ReadOnce:
    """Reads a whole array (slices, rows, columns) at the first call, then gives slices of it."""

    def __init__(self, load: Callable[[], Values]) -> None:
        self._load = load
        self._values: Values | None = None

    def __call__(self, start: int, stop: int) -> Values:
        if self._values is None:
            self._values = self._load()
        return self._values[start:stop]


RIGHT, LEFT = 1, 2
BOTH = 1
"""Labels of a mask: right and left lung; or both as one."""


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """Labels on the grid of a scan.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns): 0 outside the lungs; 1 right and 2 left where ``sides``,
        else 1 lung.
    scan:
        The scan that the labels belong to.
    sides:
        Whether right and left lung have labels of their own.
    algorithm:
        Name and version of the software that made the mask.
    decisions:
        The automatic decisions behind the mask: how the scan was read, or how labels were
        interpreted.
    flags:
        Reasons to check the mask before it is used.

    Raises
    ------
    ScanError
        The labels are not uint8 or do not have the shape of the scan.
    """

    labels: NDArray[np.uint8]
    scan: Scan
    sides: bool = True
    algorithm: tuple[str, str] = ("pleura", "")
    decisions: tuple[Decision, ...] = ()
    flags: tuple[Flag, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.shape != self.scan.geometry.shape or self.labels.dtype != np.uint8:
            raise ScanError(
                f"a mask of {self.labels.dtype} {self.labels.shape} does not fit a scan of "
                f"{self.scan.geometry.shape}",
                where=self.scan.source,
                fix="give uint8 labels on the scan's own grid",
            )

    @property
    def geometry(self) -> Geometry:
        """The scan's grid."""
        return self.scan.geometry

    def volume_ml(self, label: int | None = None) -> float:
        """Return the volume of one label, or of all, in millilitres."""
        inside = self.labels > 0 if label is None else self.labels == label
        return float(np.count_nonzero(inside)) * self.geometry.voxel_volume

    def write(self, path: str | Path) -> None:
        """Write the mask; the suffix selects the format: see `pleura.scan.write`.

        Raises
        ------
        ScanError, DataError
            The suffix is unknown, a DICOM object cannot refer to the scan's slices, or the file
            cannot be written.

        Warns
        -----
        MaskWarning
            The file does not keep something of the scan, or readers may refuse it.
        """
        from pleura.scan.write import check_can_write, write_mask

        for decision in check_can_write(Path(path), self.scan):
            warnings.warn(str(decision), MaskWarning, stacklevel=2)
        write_mask(Path(path), self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The flags, and the decisions that may change the mask, as text."""
        flagged = {flag.name for flag in self.flags}
        decided = (d for d in self.decisions if d.warning and d.about not in flagged)
        return (*map(str, decided), *map(str, self.flags))

    def __repr__(self) -> str:
        known = self.geometry.spacing_known
        voxels = np.count_nonzero(self.labels)
        size = f"{self.volume_ml():.0f} ml" if known else f"{voxels} voxels"
        flags = f"; flags: {', '.join(flag.name for flag in self.flags)}" if self.flags else ""
        return f"Mask({printable(self.scan.name)}; {self.geometry}; {size}{flags})"

    def __str__(self) -> str:
        decisions = (("warning: " if d.warning else "") + str(d) for d in self.decisions)
        return "\n  ".join([repr(self), *decisions, *(f"flag: {flag}" for flag in self.flags)])
