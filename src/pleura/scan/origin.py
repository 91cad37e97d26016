"""The file, folder or object that a scan was read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FormatName = Literal["DICOM", "NIfTI", "NRRD", "MetaImage", "TIFF", "PNG", "JPEG", "array"]
"""Name of a file format; ``array`` for NumPy arrays and other objects in memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """The source of a scan; formats whose headers are written again have subclasses.

    Parameters
    ----------
    format:
        The file format; ``array`` for objects in memory.
    path:
        The file or folder, as the caller gave it; None for an object in memory.
    files:
        The files with the header and the voxels.
    is_lossy:
        Whether the files are compressed with losses.
    """

    format: FormatName = "array"
    path: Path | None = None
    files: tuple[Path, ...] = ()
    is_lossy: bool = False

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
    def series_instance_uid(self) -> str:
        """The DICOM Series Instance UID; empty if there is none."""
        return ""

    @property
    def patient(self) -> str:
        """Name and ID of the patient in the header, or empty. Must not be written to outputs."""
        return ""


IN_MEMORY = Origin()
"""The origin of an array."""
