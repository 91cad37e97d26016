"""The DICOM slices that a scan was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pleura.errors import ScanError
from pleura.formats.dicom.frames import Frame
from pleura.formats.dicom.volume import DicomVolume
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Scan


@dataclass(frozen=True, kw_only=True, eq=False)
class DicomOrigin(Origin):
    """The DICOM slices that a scan was read from.

    Parameters
    ----------
    volume:
        The frames, in the order of the grid.
    """

    volume: DicomVolume
    format: FormatName = "DICOM"

    @property
    def frames(self) -> Sequence[Frame | None]:
        """One frame per slice of the grid; None for a slice that is missing."""
        return self.volume.frames

    @property
    def present(self) -> list[Frame]:
        """The frames of the slices that are not missing."""
        return self.volume.present

    @property
    def first(self) -> Frame:
        """The first frame that is not missing."""
        return self.volume.first

    @property
    def states_hu(self) -> bool:
        """Whether a frame has a rescale intercept."""
        return any(frame.rescale for frame in self.present)

    @property
    def has_acquisition(self) -> bool:
        """True for every DICOM slice."""
        return True

    @property
    def frame_of_reference_uid(self) -> str:
        """The Frame of Reference UID of the first frame."""
        return str(self.first.frame_of_reference_uid)

    @property
    def series_instance_uid(self) -> str:
        """The Series Instance UID of the first frame."""
        return str(self.first.series_instance_uid)

    @property
    def patient(self) -> str:
        """Name and ID of the patient in the first frame."""
        return str(self.first.patient)


def dicom_origin(scan: Scan, kind: str) -> DicomOrigin:
    """Return the DICOM slices of a scan, to which an object of this ``kind`` refers.

    Raises
    ------
    ScanError
        The scan was not read from DICOM.
    """
    if not isinstance(scan.origin, DicomOrigin):
        raise ScanError(
            f"{kind} refers to DICOM slices, but the scan was not read from DICOM",
            where=scan.source or scan.name,
            hint="write .nii.gz, .nrrd or .mha, or segment the DICOM series",
        )
    return scan.origin
