"""Descriptions of scans, which `pleura info` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pleura.errors import PleuraError, first_line
from pleura.formats.find import ScanEntry, find_scans
from pleura.intensity.window import Units
from pleura.names import printable
from pleura.scan.origin import FormatName
from pleura.scan.scan import Decision
from pleura.typing import Progress, StrPath


@dataclass(frozen=True, kw_only=True, repr=False)
class ScanDescription:
    """Properties of a scan, or the error if it cannot be read.

    Parameters
    ----------
    name, description, chosen:
        See `ScanEntry`.
    error:
        Why the scan cannot be read; None if it can.
    format:
        The file format. This field and all below are None or empty if there is an error.
    shape:
        Number of slices, rows and columns.
    spacing_mm:
        Distance between voxel centres along each axis; None if unknown.
    orientation:
        Directions of the axes, such as ``SPL``; None if unknown.
    grid, units:
        Grid and intensity units as text.
    decisions:
        The automatic decisions of reading.
    """

    name: str
    description: str
    chosen: bool = True
    error: str | None = None
    format: FormatName | None = None
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str | None = None
    grid: str = ""
    units: str = ""
    decisions: tuple[Decision, ...] = ()

    def __repr__(self) -> str:
        state = f"{self.grid}; {self.units}"
        if self.error is not None:
            state = f"error: {self.error.splitlines()[0]}"
        return f"ScanDescription({printable(self.name)}; {printable(state)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the description as a dictionary that JSON can store."""
        content = asdict(self)
        always = ("name", "description", "chosen", "error")
        return content if self.error is None else {key: content[key] for key in always}


def describe_scans(
    path: StrPath, *, units: Units = "auto", progress: Progress | None = None
) -> list[ScanDescription]:
    """Read and describe all scans in a file or below a folder.

    Parameters
    ----------
    path:
        A file or a folder.
    units:
        As for `read`.
    progress:
        Called with the number of scans that were read, and of all scans.

    Returns
    -------
    list of ScanDescription
        One per scan, also for those that cannot be read.

    Raises
    ------
    ScanError, DataError
        The path does not exist, or contains no scan.
    """
    entries = find_scans(path)
    descriptions = []
    for i, entry in enumerate(entries):
        descriptions.append(_describe(entry, units))
        if progress is not None:
            progress(i + 1, len(entries))
    return descriptions


def _describe(entry: ScanEntry, units: Units) -> ScanDescription:
    fields: dict[str, Any] = {
        "name": entry.name,
        "description": entry.description,
        "chosen": entry.chosen,
    }
    try:
        if entry.error is not None or entry.load is None:
            return ScanDescription(**fields, error=str(entry.error))
        scan = entry.load(units)
        geometry = scan.geometry
        return ScanDescription(
            **fields,
            format=scan.format,
            shape=geometry.shape,
            spacing_mm=geometry.spacing if geometry.spacing_known else None,
            orientation=geometry.orientation if geometry.orientation_known else None,
            grid=str(geometry),
            units=str(scan.intensity),
            decisions=scan.decisions,
        )
    except PleuraError as error:
        return ScanDescription(**fields, error=str(error))
    # A damaged file may raise any error, which must not hide the other scans.
    except Exception as error:  # noqa: BLE001
        return ScanDescription(
            **fields, error=f"unexpected {type(error).__name__}: {first_line(error)}"
        )
