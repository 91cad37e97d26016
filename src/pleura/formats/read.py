"""Reading one scan from a file, a folder, a zip or an object in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pleura.errors import PleuraError, ScanError
from pleura.files.listing import check_path, files_below, list_below
from pleura.formats.archive import ExtractedZip
from pleura.formats.dicom.format import DICOM, NoCTError, read_series
from pleura.formats.image_files import IMAGE_SUFFIXES, read_image_stack
from pleura.formats.image_types import ImageSource
from pleura.formats.images import is_image, read_image
from pleura.formats.registry import SCAN_SUFFIXES, VOLUME_SUFFIXES, ZIP_SUFFIX, format_of, scan_name
from pleura.intensity.window import Units, units_or_window
from pleura.names import shorten_list
from pleura.scan.orientation import flip_left_right
from pleura.scan.scan import Decision, Scan
from pleura.scan.units import with_units

_COMPRESSED = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_ARRAY_CONTAINERS = (".npz", ".mat", ".h5", ".hdf5")


def read(
    source: ImageSource,
    *,
    series: str | None = None,
    stack: bool = False,
    units: Units = "auto",
    window: tuple[float, float] | None = None,
    flip: bool = False,
) -> Scan:
    """Read one scan from a file, a folder, a zip or an image in memory.

    Parameters
    ----------
    source:
        Path of a DICOM, NIfTI, NRRD, MetaImage, TIFF (slice or stack), PNG, JPEG or NumPy file, or
        of a folder or .zip of DICOM; or a SimpleITK image, a nibabel image or a highdicom
        ``Volume``, whose geometry is kept; or a NumPy array, as for `from_array`.
    series:
        Series number or Series Instance UID, to choose one of several series in a folder.
    stack:
        Read a folder of images as one volume, in the order of their names from foot to head.
    units:
        The intensity units of the values, or a `Window`; ``auto`` estimates them.
    window:
        Level and width in HU of grey values: shorthand for a `Window`, which ``units`` of
        ``inverted`` inverts.
    flip:
        Flip left and right, for images that show the patient's left on the left side, contrary
        to the radiological convention. Only for files without an orientation.

    Returns
    -------
    Scan
        The voxels are read when they are first used.

    Raises
    ------
    ScanError, DataError
        The source cannot be read as one CT scan, or the window is invalid.

    Examples
    --------
    >>> import pleura
    >>> scan = pleura.read("tests/data/sample/volume/ct.nii.gz")
    >>> scan.geometry.shape, scan.hu(30, 31).shape
    ((65, 128, 128), (1, 128, 128))
    """
    chosen_units = units_or_window(units, window)
    if is_image(source):
        scan = read_image(source)
    elif source == "" or not isinstance(source, str | os.PathLike):  # pathlib reads "" as "."
        value = "an empty path" if isinstance(source, str) else f"a {type(source).__name__}"
        raise ScanError(
            f"{value} is not a scan",
            where=None,
            hint="pass a path, an array, or an image of SimpleITK, nibabel or highdicom",
        )
    else:
        scan = _read_path(Path(source), series, stack)
    return with_units(flip_left_right(scan) if flip else scan, chosen_units)


def _read_path(path: Path, series: str | None, stack: bool) -> Scan:
    check_path(path)
    if not path.is_dir():
        return _read_file(path, series)
    if stack:
        return read_image_stack(path)
    files = files_below(path)
    unreachable = [error.message for error in list_below(path).unreachable]
    return _read_files(files, path, series, unreachable)


def _read_file(path: Path, series: str | None) -> Scan:
    file_format = format_of(path)
    if file_format is not None:
        return file_format.read(path, scan_name(path))
    if path.name.lower().endswith(ZIP_SUFFIX):
        return _read_zip(path, series)
    try:
        return read_series([path], path, scan_name(path), series)
    except NoCTError as error:
        raise _unsupported_format(path) or error from None


def _read_files(
    files: Sequence[Path], path: Path, series: str | None, unreachable: Sequence[str] = ()
) -> Scan:
    """Read the one scan in a folder or zip: a DICOM series, or else the only volume or image."""
    images = [f for f in files if f.name.lower().endswith(IMAGE_SUFFIXES)]
    volumes = [f for f in files if f.name.lower().endswith(VOLUME_SUFFIXES)]
    others = [f for f in files if f not in {*images, *volumes}]
    try:
        scan = read_series(others, path, scan_name(path), series)
    except NoCTError:
        if not volumes and not images:
            raise
    else:
        if volumes:
            ignored = f"other files are ignored: {shorten_list([v.name for v in volumes], 3)}"
            decision = Decision("files", "the DICOM series is read", ignored, warning=True)
            scan = replace(scan, decisions=(decision, *scan.decisions))
        return _warn_of_missing_files(scan, unreachable)
    candidates = volumes or images
    if len(candidates) == 1:
        return _warn_of_missing_files(_read_file(candidates[0], series), unreachable)
    contents = f"{len(volumes)} volumes" if volumes else f"{len(images)} images"
    hint = ("extract it and pass" if path.is_file() else "pass") + " one of them"
    if not volumes:
        hint += ", or add --stack if they are one volume"
    raise ScanError(f"the folder or zip contains {contents}, not one scan", where=path, hint=hint)


def _read_zip(path: Path, series: str | None) -> Scan:
    """Read the scan in a zip from a temporary folder, without the names in the zip."""
    extracted = ExtractedZip(path, (*SCAN_SUFFIXES, *DICOM.suffixes))
    try:
        scan = _read_files(extracted.files, path, series)
    except PleuraError as error:
        raise type(error)(error.message, where=path, hint=error.hint) from error
    scan = _warn_of_missing_files(scan, extracted.links * ["a link to a file outside the zip"])
    return replace(
        scan,
        name=scan_name(path),
        origin=replace(scan.origin, path=path),
        read=extracted.keep_while_reading(scan.read),
    )


def _warn_of_missing_files(scan: Scan, reasons: Sequence[str]) -> Scan:
    """Return a scan with a warning about files that may be slices of it."""
    decisions = tuple(
        Decision("slices", f"{reasons.count(reason)} not read", f"may be slices: {reason}", True)
        for reason in dict.fromkeys(reasons)
    )
    return replace(scan, decisions=(*decisions, *scan.decisions))


def _unsupported_format(path: Path) -> ScanError | None:
    """Return an error with a hint for known formats that are not supported."""
    lower = path.name.lower()
    if lower.endswith(_COMPRESSED):
        hint = "extract it and pass the folder or file; the only supported archives are .zip"
    elif lower.endswith(_ARRAY_CONTAINERS):
        hint = "save the array of the scan with numpy.save, and pass the .npy file"
    else:
        return None
    suffix = path.suffixes[-2:] if lower.endswith((".tar.gz", ".tar.bz2", ".tar.xz")) else ()
    return NoCTError(
        f"{''.join(suffix) or path.suffix} files are not supported", where=path, hint=hint
    )
