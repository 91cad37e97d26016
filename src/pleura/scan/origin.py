"""What a scan was read from; each file format has its own class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """What a scan was read from: an array, unless a class of a file format says more.

    Parameters
    ----------
    format:
        ``DICOM``, ``NIfTI``, ``NRRD``, ``MetaImage``, ``TIFF``, ``PNG``, ``JPEG`` or ``array``.
    path:
        The file or folder, as the caller gave it; None for an object in memory.
    files:
        The files that hold the header and the voxels.
    """

    format: str = "array"
    path: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def states_hu(self) -> bool:
        """Whether the header states that the values are HU."""
        return False

    @property
    def has_acquisition(self) -> bool:
        """Whether the header describes the acquisition: contrast agent, convolution kernel."""
        return False

    @property
    def frame_of_reference_uid(self) -> str:
        """The DICOM Frame of Reference UID of the grid; empty if there is none."""
        return ""

    @property
    def patient(self) -> str:
        """Name and ID of the patient in the header; empty if it has none. Never for output."""
        return ""


IN_MEMORY = Origin()
"""The origin of an array."""
