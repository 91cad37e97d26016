"""The DICOM format; pydicom is imported when a file is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import DTypeLike

from pleura.errors import DataError, ScanError
from pleura.formats.dicom.suffixes import DICOM_SUFFIXES, RTSTRUCT_SUFFIX, SEG_SUFFIX
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName
from pleura.scan.scan import Decision, Scan

if TYPE_CHECKING:
    from pleura.formats.dicom.frames import SkippedFile


class DicomFormat:
    """DICOM: CT is read; label maps are written as SEG (.dcm) or RT Structure Set (.rtstruct.dcm).

    Files are recognised by their content, not by their suffix.
    """

    name: FormatName = "DICOM"
    suffixes: tuple[str, ...] = DICOM_SUFFIXES
    output_suffixes: tuple[str, ...] = (RTSTRUCT_SUFFIX, SEG_SUFFIX)
    stores_geometry = True

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read a single-frame or multi-frame file."""
        return read_series([path], path, name)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that an object can refer to the slices of a scan: only label maps are written."""
        from pleura.formats.dicom.references import check_references

        if dtype is not None:
            raise DataError(
                "only masks can be written as DICOM files",
                where=path,
                hint="write .nii.gz, .nrrd or .mha",
            )
        return check_references(
            scan, "an RT Structure Set" if _is_rtstruct(path) else "a DICOM SEG"
        )

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write a label map that refers to the DICOM slices of its scan."""
        if not isinstance(image, LabelMap):
            self.can_write(path, image, "i2")
        elif _is_rtstruct(path):
            from pleura.formats.dicom.rtstruct import write_rtstruct

            write_rtstruct(path, image)
        else:
            from pleura.formats.dicom.seg import write_seg

            write_seg(path, image)


DICOM = DicomFormat()


class NoCTError(ScanError):
    """A file or folder without CT."""


def read_series(files: Sequence[Path], source: Path, name: str, series: str | None = None) -> Scan:
    """Read the CT series in DICOM files, the preferred one if there are several.

    Parameters
    ----------
    files:
        Files; those that are not DICOM are skipped.
    source, name:
        The file or folder to report in errors, and the name of the scan.
    series:
        Series number or Series Instance UID, to choose another series.

    Raises
    ------
    NoCTError
        The files contain no CT.
    ScanError
        The slices are damaged or not a volume, or the series does not exist.
    """
    from pleura.formats.dicom.read import find_volumes, read_volume
    from pleura.formats.dicom.selection import select_volume

    contents = find_volumes(files)
    if not contents.volumes:
        if contents.rejected:
            raise contents.rejected[0].error
        damaged = next((file for file in contents.skipped if file.damaged), None)
        if damaged is not None:
            raise ScanError(
                f"the slice cannot be read: {damaged.reason}",
                where=damaged.path,
                hint="copy or export the file again",
            )
        raise _no_ct(contents.skipped, source)
    volume, decisions = select_volume(contents, source, series)
    scan = read_volume(volume, name, source, contents.skipped)
    return replace(scan, decisions=(*decisions, *scan.decisions))


def _no_ct(skipped: Sequence[SkippedFile], source: Path) -> NoCTError:
    reasons = sorted({file.reason for file in skipped})
    listed = f"no CT found: {'; '.join(reasons[:4])}" if reasons else "no CT found"
    if any("Segmentation" in reason or "RT Structure" in reason for reason in reasons):
        hint = "pass the CT series first; a DICOM SEG or RT Structure Set is its mask"
        return NoCTError(listed, where=source, hint=hint)
    return NoCTError(
        listed if reasons else "no CT found: the folder is empty",
        where=source,
        hint="pass a file or folder of CT (DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG, .npy)",
    )


def _is_rtstruct(path: Path) -> bool:
    return path.name.lower().endswith(RTSTRUCT_SUFFIX)
