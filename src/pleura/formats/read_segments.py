"""Recognition of files of named structures."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from pleura.errors import PleuraError, ScanError, first_line
from pleura.files.listing import check_path, files_below
from pleura.formats.dicom.suffixes import DICOM_SUFFIXES
from pleura.formats.nrrd import NRRD
from pleura.formats.registry import format_of
from pleura.formats.seg_nrrd import SEG_NRRD, read_seg_nrrd
from pleura.formats.segments import Drawn, SegmentFile
from pleura.scan.geometry import Geometry


def read_segments(path: Path) -> SegmentFile | None:
    """Read the structures of a DICOM SEG, an RT Structure Set or a .seg.nrrd file.

    Parameters
    ----------
    path:
        A file, or a folder that contains only this file, as in archives of DICOM.

    Returns
    -------
    SegmentFile or None
        None if the file is something else.

    Raises
    ------
    ScanError, DataError
        The file is missing or damaged.
    """
    check_path(path)
    if path.is_dir():
        files = files_below(path)
        if len(files) != 1:
            return None
        path = files[0]
    file_format = format_of(path)
    if file_format in (NRRD, SEG_NRRD):
        return read_seg_nrrd(path)
    if file_format is not None:
        return None
    with _as_scan_error(path):
        file = _read_dicom(path)
    return None if file is None else replace(file, draw=partial(_draw, file))


def is_dicom_mask(path: Path) -> bool:
    """Return whether a file with a suffix of DICOM is a SEG or an RT Structure Set."""
    if path.suffix.lower() not in DICOM_SUFFIXES:
        return False
    from pydicom import dcmread

    from pleura.formats.dicom.pydicom_log import suppress_pydicom_log
    from pleura.formats.dicom.rtstruct_reading import RTSTRUCT_CLASS
    from pleura.formats.dicom.seg_reading import SEG_CLASSES

    try:
        with suppress_pydicom_log():
            header = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    # pydicom raises many kinds of errors for damaged files.
    except Exception:  # noqa: BLE001
        return False
    return str(header.get("SOPClassUID", "")) in (*SEG_CLASSES, RTSTRUCT_CLASS)


def _read_dicom(path: Path) -> SegmentFile | None:
    from pydicom.errors import InvalidDicomError

    from pleura.formats.dicom.dataset import read_dataset
    from pleura.formats.dicom.deflate import exceeds_inflation_limit
    from pleura.formats.dicom.rtstruct_reading import RTSTRUCT_CLASS, read_rtstruct
    from pleura.formats.dicom.seg_reading import SEG_CLASSES, read_seg

    try:
        if exceeds_inflation_limit(path):
            return None
        header = read_dataset(path, stop_before_pixels=True)
    except InvalidDicomError:
        return None
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class in SEG_CLASSES:
        return read_seg(path, read_dataset(path))
    return read_rtstruct(path, header) if sop_class == RTSTRUCT_CLASS else None


def _draw(file: SegmentFile, numbers: Collection[int], grid: Geometry) -> Drawn:
    with _as_scan_error(file.origin.path):
        return file.draw(numbers, grid)


@contextmanager
def _as_scan_error(path: Path | None) -> Iterator[None]:
    """Name the file in errors; pydicom raises many kinds of errors for damaged files."""
    from pleura.formats.dicom.pydicom_log import suppress_pydicom_log

    try:
        with suppress_pydicom_log():
            yield
    except PleuraError as error:
        if error.where is None:
            raise type(error)(error.message, where=path, hint=error.hint) from error
        raise
    # From OSError to RecursionError.
    except Exception as error:
        raise ScanError(
            f"the DICOM file cannot be read ({first_line(error)})",
            where=path,
            hint="copy or export the file again",
        ) from error
