"""CT scans: voxels, geometry, intensity units, and the decisions made while reading."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.figures.html import html_image, html_table
from pleura.figures.preview import preview_image
from pleura.intensity.grey import grey_range, to_grey
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.names import printable
from pleura.scan.bridges import to_highdicom, to_nibabel, to_simpleitk
from pleura.scan.geometry import Geometry
from pleura.scan.origin import IN_MEMORY, FormatName, Origin
from pleura.typing import AnyArray

if TYPE_CHECKING:
    from highdicom import Volume
    from nibabel import Nifti1Image
    from SimpleITK import Image as SimpleITKImage

ReadSlices = Callable[[int, int], AnyArray]

BACKGROUND_HU = -1024
"""HU of missing slices, and of voxels outside the lungs in a masked scan."""

_MAX_CONVERTED = 1 << 22
"""Number of voxels that are converted to HU at a time, to limit the memory for floats."""


@dataclass(frozen=True)
class Decision:
    """An automatic decision, with its reason; one with ``warning`` may change a mask."""

    topic: str
    choice: str
    reason: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.topic}: {self.choice} ({self.reason})"


@dataclass(frozen=True, eq=False, repr=False)
class Scan:
    """A 2-D or 3-D CT scan, whose voxels are read when they are needed.

    Parameters
    ----------
    name:
        Name of results; never the name or ID of a patient.
    geometry:
        The grid of the array.
    read:
        Returns slices ``start`` to ``stop`` as (slices, rows, columns), in the values that the
        file defines, with its rescale slope and intercept applied.
    origin:
        What the scan was read from, with the header of its format.
    decisions:
        The automatic decisions made while reading.
    intensity:
        The conversion of the values to HU.
    missing_slices:
        Indices of slices that are missing in the source; they are read as air.
    release:
        Releases the memory of slices ``start`` to ``stop``, which are read from the file again if
        they are needed; None if the voxels are not kept in memory, or not in a file.
    """

    name: str
    geometry: Geometry
    read: ReadSlices
    origin: Origin = IN_MEMORY
    decisions: tuple[Decision, ...] = ()
    intensity: IntensityMapping = HU
    missing_slices: frozenset[int] = frozenset()
    release: Callable[[int, int], None] | None = None

    @property
    def format(self) -> FormatName:
        """The file format: see `Origin`."""
        return self.origin.format

    @property
    def source(self) -> Path | None:
        """The file or folder that it was read from; None for an object in memory."""
        return self.origin.path

    def values(self, start: int = 0, stop: int | None = None) -> AnyArray:
        """Return slices (slices, rows, columns) in the values that the file defines.

        Raises
        ------
        ScanError
            The file is truncated or corrupt, or contains NaN or infinite values.
        """
        stop = self.geometry.shape[0] if stop is None else stop
        values = self.read(start, stop)
        if values.shape != (stop - start, *self.geometry.shape[1:]):
            raise ScanError(
                f"the file has {values.shape} voxels, but its header states {self.geometry.shape}",
                where=self.source,
                hint="copy or export the file again",
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ScanError(
                "the scan contains NaN or infinite values",
                where=self.source,
                hint=f"replace them, for example by {BACKGROUND_HU} outside the field of view",
            )
        return values

    def hu(self, start: int = 0, stop: int | None = None) -> NDArray[np.int16]:
        """Return slices (slices, rows, columns) in HU, rounded, at least -1024."""
        values = self.values(start, stop)
        if values.size <= _MAX_CONVERTED:
            return self.intensity.to_hu(values)
        rows = values.reshape(-1, values.shape[-1])
        converted = np.empty(rows.shape, np.int16)
        step = max(_MAX_CONVERTED // rows.shape[1], 1)
        for first in range(0, len(rows), step):
            converted[first : first + step] = self.intensity.to_hu(rows[first : first + step])
        return converted.reshape(values.shape)

    def grey(self, start: int = 0, stop: int | None = None) -> NDArray[np.int16]:
        """Return slices (slices, rows, columns) in grey values from 0 to 255; air is dark.

        8-bit values are returned as stored. Values from 0 to 1 are multiplied by 255, others are
        mapped linearly from their range in the whole scan. Inverted images are inverted.

        Raises
        ------
        ScanError
            The scan is in HU, or its voxels cannot be read.
        """
        if self.intensity.calibrated:
            raise ScanError(
                "the scan is in HU, not in grey values",
                where=self.source or self.name,
                hint="pass --units grey if the values are grey values",
            )
        low, high = grey_range(*self.value_range)
        if self.intensity.scale < 0:
            low, high = high, low
        return to_grey(self.values(start, stop), low, high)

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """The smallest and the largest value of all slices that are not missing."""
        present = [i for i in range(self.geometry.shape[0]) if i not in self.missing_slices]
        slices = (self.values(i, i + 1) for i in present)
        ranges = [(float(values.min()), float(values.max())) for values in slices]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    @property
    def missing_axial_slices(self) -> frozenset[int]:
        """Indices of missing slices among canonical axial slices; empty if these are not stored."""
        order = self.geometry.to_canonical()
        if order.axes[0] != 0:
            return frozenset()
        last = self.geometry.shape[0] - 1
        return frozenset(last - i if order.flipped[0] else i for i in self.missing_slices)

    @property
    def is_volume(self) -> bool:
        """Whether there is more than one slice."""
        return self.geometry.shape[0] > 1

    @cached_property
    def warnings(self) -> tuple[Decision, ...]:
        """Decisions that may change a mask."""
        return tuple(decision for decision in self.decisions if decision.warning)

    def to_simpleitk(self) -> SimpleITKImage:
        """Return the HU (int16) as a SimpleITK image.

        Raises
        ------
        ScanError
            The grid is sheared, or the voxels cannot be read.
        """
        return to_simpleitk(self.hu(), self.geometry)

    def to_nibabel(self) -> Nifti1Image:
        """Return the HU (int16) as a nibabel ``Nifti1Image``."""
        return to_nibabel(self.hu(), self.geometry)

    def to_highdicom(self) -> Volume:
        """Return the HU (int16) as a highdicom ``Volume``.

        Raises
        ------
        ScanError
            The grid is sheared, or the voxels cannot be read.
        """
        return to_highdicom(self.hu(), self.geometry, self.origin.frame_of_reference_uid)

    def __str__(self) -> str:
        decisions = (("warning: " if d.warning else "") + str(d) for d in self.decisions)
        return "\n  ".join([repr(self), *decisions])

    def _repr_html_(self) -> str:
        rows = [
            ("Name", printable(self.name)),
            ("Grid", str(self.geometry)),
            ("Intensity units", str(self.intensity)),
            *((d.topic, f"{d.choice} ({d.reason})") for d in self.decisions if d.topic != "units"),
        ]
        try:
            hu = self.hu()
        except ScanError as error:
            return html_table((), [*rows, ("error", error.message)])
        order = self.geometry.to_canonical()
        hu, spacing = order.apply(hu), order.apply_to(self.geometry).spacing
        labels, known = np.zeros(hu.shape, np.uint8), self.geometry.spacing_known
        image = preview_image(hu, labels, spacing, scale_bar=known)
        return html_image(image, "Slices of the scan") + html_table((), rows)

    def __repr__(self) -> str:
        return f"Scan({printable(self.name)}; {self.geometry}; {self.intensity})"


class ReadOnce:
    """Read a whole array (slices, rows, columns) at the first call, and return slices of it."""

    def __init__(self, load: Callable[[], AnyArray]) -> None:
        self._load = load
        self._values: AnyArray | None = None

    def __call__(self, start: int, stop: int) -> AnyArray:
        if self._values is None:
            self._values = self._load()
        return self._values[start:stop]


class ReadParts:
    """Read parts of consecutive slices at the first call, return slices, and release parts.

    Parameters
    ----------
    load:
        Yields all parts (slices, rows, columns).
    """

    def __init__(self, load: Callable[[], Iterable[AnyArray]]) -> None:
        self._load = load
        self._parts: dict[int, AnyArray] = {}  # by the index of their first slice
        self._released = np.zeros(0, np.bool_)  # of each slice
        self._lock = threading.Lock()

    def __call__(self, start: int, stop: int) -> AnyArray:
        with self._lock:
            if not self._parts or self._released[start:stop].any():
                self._read()
            if stop - start == len(self._released):
                self._join()
            found = [
                part[max(start - first, 0) : stop - first]
                for first, part in self._parts.items()
                if first < stop and start < first + len(part)
            ]
            return found[0] if len(found) == 1 else np.concatenate(found)

    def release(self, start: int, stop: int) -> None:
        """Release slices; the memory of a part is freed when all its slices are released."""
        with self._lock:
            self._released[start:stop] = True
            for first, part in list(self._parts.items()):
                if self._released[first : first + len(part)].all():
                    del self._parts[first]

    def _read(self) -> None:
        self._parts.clear()
        parts, slices = {}, 0
        for part in self._load():
            parts[slices] = part
            slices += len(part)
        self._parts, self._released = parts, np.zeros(slices, np.bool_)

    def _join(self) -> None:
        """Join all parts to one array; each is freed before the next one is copied."""
        if len(self._parts) > 1:
            part = self._parts[0]
            whole = np.empty((len(self._released), *part.shape[1:]), part.dtype)
            for first in list(self._parts):
                part = self._parts.pop(first)
                whole[first : first + len(part)] = part
            self._parts = {0: whole}
