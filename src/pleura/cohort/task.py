"""A scan to segment, and how to open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pleura.cohort.stores import RemoteScan
from pleura.errors import DataError
from pleura.formats.find import ScanEntry
from pleura.formats.read import read
from pleura.intensity.mapping import UnitsOption
from pleura.intensity.window import Units
from pleura.names import short_hash
from pleura.scan.orientation import flip_left_right
from pleura.scan.scan import Scan


@dataclass(frozen=True)
class Task:
    """A scan to segment.

    Parameters
    ----------
    name:
        Name of the results: a path below the output, without suffix.
    source:
        The scan.
    path:
        Path of the scan below the inputs, for reports; empty in anonymous results.
    patient:
        Patient in the tables.
    series, stack:
        See `pleura.read`.
    units, window, flip:
        Options of this scan; None: those of the cohort.
    has_given_name:
        Whether a manifest states the name.
    """

    name: str
    source: ScanEntry | RemoteScan | Path
    path: str = ""
    patient: str = ""
    series: str | None = None
    stack: bool = False
    units: UnitsOption | None = None
    window: tuple[float, float] | None = None
    flip: bool | None = None
    has_given_name: bool = False

    @property
    def unique_key(self) -> str:
        """Text that identifies the task within a cohort, in all processes."""
        source = self.source.source if isinstance(self.source, ScanEntry) else self.source
        description = self.source.description if isinstance(self.source, ScanEntry) else ""
        options = self.series, self.stack, self.units, self.window, self.flip
        return f"{source} {description} {options}"

    @property
    def filename(self) -> str:
        """Name of the file or folder of the scan."""
        if isinstance(self.source, RemoteScan):
            return self.source.filename
        return (self.source.source if isinstance(self.source, ScanEntry) else self.source).name


def anonymous_task(task: Task) -> Task:
    """Return a task whose results are named by a hash and whose reports have no path.

    A name that a manifest states is kept.
    """
    hashed = f"scan-{short_hash(f'{task.path} {task.name}')}"
    return replace(task, name=task.name if task.has_given_name else hashed, path="")


@contextmanager
def open_task(task: Task, units: Units, flip: bool) -> Iterator[Scan]:
    """Open the scan of a task; its voxels can be read inside the context only.

    Parameters
    ----------
    task:
        The scan; its own units, window and flip are not used.
    units:
        Intensity units, or the window of grey values.
    flip:
        Flip the scan if its orientation is unknown.

    Raises
    ------
    ScanError, DataError
        The scan cannot be read.
    """
    with _open_source(task, units) as scan:
        yield flip_left_right(scan) if flip and not scan.geometry.orientation_known else scan


@contextmanager
def _open_source(task: Task, units: Units) -> Iterator[Scan]:
    if isinstance(task.source, ScanEntry):
        if task.source.load is None:
            raise task.source.error or DataError(
                "the scan cannot be read", where=task.name, hint="check the file"
            )
        yield task.source.load(units)
    elif isinstance(task.source, RemoteScan):
        with task.source.download(PurePosixPath(task.name).name) as path:
            yield read(path, series=task.series, stack=task.stack, units=units)
    else:
        yield read(task.source, series=task.series, stack=task.stack, units=units)
