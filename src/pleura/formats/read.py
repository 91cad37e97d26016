"""Any CT in: what a path is, which scan in it is meant, and its values converted to HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pleura.errors import PleuraError, ScanError
from pleura.files.listing import check_path, files_below, list_below
from pleura.formats import metaimage, nifti, nrrd
from pleura.formats.archive import Unpacked
from pleura.formats.images import is_image, read_image
from pleura.formats.pictures import SUFFIXES as PICTURES
from pleura.formats.raw import check_shape
from pleura.formats.slices import read_slices, read_stack_of_slices
from pleura.intensity.decision import decide_units
from pleura.intensity.mapping import UnitsOption
from pleura.scan.geometry import Geometry
from pleura.scan.orientation import assumed, flipped, oriented, shape_of
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.typing import AnyArray

VOLUMES = (*nifti.SUFFIXES, *nrrd.SUFFIXES, *metaimage.SUFFIXES)
LOOKED_AT = 9
"""Slices from which the units of a scan are told."""

LARGEST_SIDE = 2048
"""Pixels of a slice's longer side from which its units are estimated."""


def read(
    path: Any,
    *,
    series: str | None = None,
    stack: bool = False,
    units: UnitsOption = "auto",
    flip: bool = False,
) -> Scan:
    """Read one scan: a file, a folder or zip of DICOM, or with ``stack`` a folder of pictures.

    Parameters
    ----------
    path:
        DICOM, NIfTI, NRRD, MetaImage, TIFF (slice or stack), PNG, JPEG or NumPy file; or a folder
        or .zip of DICOM. Also an image of SimpleITK or nibabel, whose geometry is kept.
    series:
        Series number or Series Instance UID, where a folder holds several.
    stack:
        Take a folder of pictures, in the order of their names from foot to head, as one volume.
    units:
        What the values are; ``auto`` looks.
    flip:
        The picture shows the patient's left on its left, against the radiological convention; only
        for files that carry no orientation.

    Raises
    ------
    ScanError, DataError
        Nothing there can be read as one CT scan.
    """
    if is_image(path):
        scan = read_image(path)
        return with_units(flipped(scan) if flip else scan, units)
    if path == "" or not isinstance(path, str | Path):  # pathlib takes "" for the current folder
        what = "an empty path" if path == "" else f"a {type(path).__name__}"
        raise ScanError(
            f"{what} is not a scan",
            where=None,
            hint="give a path, an image of SimpleITK or nibabel, or pleura.from_array(array, ...)",
        )
    path = Path(path)
    check_path(path)
    if path.is_dir():
        scan = read_stack_of_slices(path) if stack else _read_folder(path, series)
    else:
        scan = _read_file(path, series)
    return with_units(flipped(scan) if flip else scan, units)


def from_array(
    values: ArrayLike,
    spacing: Sequence[float] | None = None,
    affine: ArrayLike | None = None,
    *,
    orientation: str | None = None,
    name: str = "array",
    units: UnitsOption = "auto",
) -> Scan:
    """Make a scan of an array (rows, columns) or (slices, rows, columns).

    An array does not tell right from left. Without ``affine`` and ``orientation``, axial slices
    from foot to head are assumed, with rows to the back and columns to the patient's left
    (``SPL``), and the scan has a warning.

    Parameters
    ----------
    values:
        The voxels, of any real dtype.
    spacing:
        Millimetres between voxels, one number per axis, in the order of the axes.
    affine:
        (4, 4); maps (slice, row, column, 1) to LPS millimetres. It replaces ``spacing`` and
        ``orientation``.
    orientation:
        The direction in which the index of slices, rows and columns grows, three letters: R or L,
        A or P, I or S. ``SPL`` for most DICOM series, ``SAR`` where
        ``SimpleITK.GetArrayFromImage`` took an image in RAS order.
    name:
        Name of the scan in results.
    units:
        As for `read`.

    Raises
    ------
    ScanError
        The array is not a 2-D or 3-D array of numbers, a spacing is not above 0, the orientation
        does not name three axes, or the grid is impossible.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ScanError(
            f"the values are not an array ({error})",
            where=name,
            hint="give numbers in rows of one length",
        ) from error
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise ScanError(
            f"an array of {array.dtype} and shape {array.shape} is not a scan",
            where=name,
            hint="give numbers, (rows, columns) or (slices, rows, columns)",
        )
    volume = array.reshape(check_shape(array.shape, name))
    if affine is not None:
        if spacing is not None or orientation is not None:
            raise ScanError(
                "an affine beside a spacing or an orientation",
                where=name,
                hint="give the affine alone: it holds both",
            )
        geometry = Geometry(shape_of(volume), np.asarray(affine, np.float64))
        scan = Scan(name, geometry, ReadOnce(lambda: volume))
    else:
        sides = None if spacing is None else _checked_spacing(spacing, array.ndim, name)
        scan = assumed(name, volume, "array", None, sides)
        if orientation is not None:
            scan = oriented(scan, orientation)
    return with_units(scan, units)


def _checked_spacing(spacing: Sequence[float], axes: int, name: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in spacing)
    except (TypeError, ValueError):
        found = ()
    if len(found) != axes or not all(0 < one < np.inf for one in found):
        raise ScanError(
            f"a spacing of {spacing} for {axes} axes",
            where=name,
            hint="give one number above 0 per axis, in mm; for a reversed axis give an orientation",
        )
    return found


def with_units(scan: Scan, option: UnitsOption = "auto") -> Scan:
    """Return a scan with the conversion of its values to HU, and the decision about it.

    Raises
    ------
    ScanError
        The units cannot be determined, the slices differ in units, or the values are no CT.
    """
    try:
        slices = [] if option in ("hu", "offset") else _some_axial(scan)
        decided = decide_units(slices, option, scan.origin.states_hu)
    except ScanError as error:
        where = scan.source if error.where is None else error.where
        raise ScanError(error.message, where=where, hint=error.hint) from error
    decision = Decision("units", decided.mapping.name, decided.reason, decided.warning)
    decisions = (*scan.decisions, *_shear(scan.geometry), decision)
    return replace(scan, intensity=decided.mapping, decisions=decisions)


def _shear(geometry: Geometry) -> tuple[Decision, ...]:
    """Describe axes that are not at right angles, as those of a tilted gantry."""
    if not geometry.is_sheared:
        return ()
    choice = f"sheared by {geometry.skew:.3g} degrees; no slice is moved"
    return (Decision("grid", choice, "the axes in its header are not at right angles"),)


def _read_file(path: Path, series: str | None) -> Scan:
    lower = path.name.lower()
    if lower.endswith(nifti.SUFFIXES):
        return nifti.read_nifti(path, scan_name(path))
    if lower.endswith(nrrd.SUFFIXES):
        return nrrd.read_nrrd(path, scan_name(path))
    if lower.endswith(metaimage.SUFFIXES):
        return metaimage.read_metaimage(path, scan_name(path))
    if lower.endswith(PICTURES):
        return read_slices(path, scan_name(path))
    if lower.endswith(".zip"):
        return _read_zip(path, series)
    try:
        return _read_dicom([path], path, series)
    except NoCTError as error:
        raise _unread_format(path) or error from None


_PACKED = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_ARRAYS = (".npz", ".mat", ".h5", ".hdf5")


def _unread_format(path: Path) -> ScanError | None:
    """Return an error that says how to convert a file of a known format that is not read."""
    lower = path.name.lower()
    if lower.endswith(_PACKED):
        hint = "unpack it, and give the folder or file; of packed folders, .zip is read"
    elif lower.endswith(_ARRAYS):
        hint = "save the one array of the scan with numpy.save, and give the .npy file"
    else:
        return None
    suffix = path.suffixes[-2:] if lower.endswith((".tar.gz", ".tar.bz2", ".tar.xz")) else ()
    return NoCTError(f"{''.join(suffix) or path.suffix} files are not read", where=path, hint=hint)


def _read_folder(path: Path, series: str | None) -> Scan:
    files = files_below(path)
    unreachable = [error.message for error in list_below(path).left_out]
    return _read_files(files, path, series, unreachable)


def _without(scan: Scan, reasons: Sequence[str]) -> Scan:
    """Return a scan with a warning about files that may be slices of it."""
    said = tuple(
        Decision("slices", f"{reasons.count(reason)} left out", f"{reason}: perhaps slices", True)
        for reason in dict.fromkeys(reasons)
    )
    return replace(scan, decisions=(*said, *scan.decisions))


def _read_files(
    files: Sequence[Path], path: Path, series: str | None, unreachable: Sequence[str] = ()
) -> Scan:
    """Read the one scan of a folder's or zip's files: a DICOM series, or else the one volume."""
    pictures = [f for f in files if f.name.lower().endswith(PICTURES)]
    volumes = [f for f in files if f.name.lower().endswith(VOLUMES)]
    others = [f for f in files if f not in set(pictures) | set(volumes)]
    try:
        scan = _read_dicom(others, path, series)
    except NoCTError:
        if not volumes and not pictures:
            raise
    else:
        if volumes:
            what = f"not {', '.join(volume.name for volume in volumes[:3])} beside it"
            said = Decision("files", "the DICOM series", what, warning=True)
            scan = replace(scan, decisions=(said, *scan.decisions))
        return _without(scan, unreachable)
    if len(volumes) == 1:
        return _read_file(volumes[0], series)
    what = f"{len(volumes)} volumes" if volumes else f"{len(pictures)} pictures"
    raise ScanError(
        f"the folder or zip holds {what}, not one scan",
        where=path,
        hint=("unpack it and name" if path.is_file() else "name")
        + " one of them"
        + ("" if volumes else ", or add --stack if they are one volume"),
    )


def _read_dicom(files: Sequence[Path], source: Path, series: str | None) -> Scan:
    from pleura.formats.dicom.read import find_volumes, read_volume
    from pleura.formats.dicom.selection import select_volume

    contents = find_volumes(files)
    if not contents.volumes:
        if contents.rejected:
            raise contents.rejected[0].error
        if any(one.damaged for one in contents.skipped):
            broken = next(one for one in contents.skipped if one.damaged)
            raise ScanError(
                f"the slice cannot be read: {broken.reason}",
                where=broken.path,
                hint="copy or export it again",
            )
        raise _no_ct(contents.skipped, source)
    stack, decisions = select_volume(contents, source, series)
    scan = read_volume(stack, scan_name(source), source, contents.skipped)
    return replace(scan, decisions=(*decisions, *scan.decisions))


class NoCTError(ScanError):
    """A file or folder that holds nothing that looks like a CT."""


def _no_ct(aside: Sequence[Any], source: Path) -> ScanError:
    reasons = sorted({one.reason for one in aside})
    if any("Segmentation" in reason or "RT Structure" in reason for reason in reasons):
        return NoCTError(
            f"no CT here: {'; '.join(reasons[:4])}",
            where=source,
            hint="where a mask is meant, give one as NIfTI, NRRD or MetaImage: these are not read",
        )
    return NoCTError(
        "no CT here" + (f": {'; '.join(reasons[:4])}" if reasons else ": the folder is empty"),
        where=source,
        hint="give a file or folder of CT (DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG, .npy)",
    )


def _read_zip(path: Path, series: str | None) -> Scan:
    """Unpack into a temporary folder and read what it holds; names in the zip are not used."""
    unpacked = Unpacked(path, (*VOLUMES, *PICTURES, ".dcm", ".ima"))
    try:
        scan = _read_files(unpacked.files, path, series)
    except PleuraError as error:
        raise type(error)(error.message, where=path, hint=error.hint) from error
    scan = _without(scan, unpacked.links * ["a link that leads out of the zip"])
    origin = replace(scan.origin, path=path)
    return replace(scan, name=scan_name(path), origin=origin, read=unpacked.keeping(scan.read))


def _some_axial(scan: Scan) -> list[AnyArray]:
    """Return some axial slices (rows, columns) spread over the scan, without absent ones."""
    order = scan.geometry.to_canonical()
    n = scan.geometry.shape[order.axes[0]]
    index = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT) + 2).round().astype(int)[1:-1])
    if n <= 2:
        index = np.arange(n)
    if order.axes[0] == 0:
        flipped = [n - 1 - i if order.flipped[0] else i for i in index]
        chosen = [i for i in flipped if i not in scan.absent] or flipped
        return [_thinned(order.apply(scan.values(i, i + 1))[0]) for i in chosen]
    return [_thinned(one) for one in order.apply(scan.values())[index]]


def _thinned(one: AnyArray) -> AnyArray:
    """Return every so many pixels of a slice that is larger than any CT, to spare memory."""
    step = -(-max(one.shape) // LARGEST_SIDE)
    return one[::step, ::step]


def scan_name(path: Path) -> str:
    """Return what results of a file or folder are called after: its name without suffix."""
    name = path.name
    for suffix in sorted((*VOLUMES, *PICTURES, ".dcm", ".ima", ".zip"), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
