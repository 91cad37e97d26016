"""NIfTI-1 and NIfTI-2 files (https://nifti.nimh.nih.gov): scans in, masks out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from pleura.errors import PleuraError, ScanError, first_line
from pleura.scan.geometry import LPS_FROM_RAS, Geometry
from pleura.scan.pictures import write_atomically
from pleura.scan.raw import DEFLATE, check_shape, read_voxels
from pleura.scan.scan import Decision, ReadOnce, Scan, Values

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz")

_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path, name: str) -> Scan:
    """Read the header of a NIfTI file; voxels are read when asked for.

    Raises
    ------
    ScanError
        The file is truncated or corrupt, holds colours, several volumes, or an impossible grid.
    """
    try:
        image: Any = nib.load(path)
        header, proxy = image.header, image.dataobj
        _check_kind(image, header.get_data_dtype())
        shape = check_shape(_slowest_first(header.get_data_shape()), path)
        _check_claim(image, shape, header.get_data_dtype())
        grid, decisions = _geometry(header, shape)
    except PleuraError as error:
        raise ScanError(error.what, where=path, fix=error.fix) from error
    # nibabel lets errors of numpy, struct, gzip and its own through for a damaged header.
    except Exception as error:
        raise _corrupt(path, error) from error

    def load() -> Values:
        if str(image.file_map["image"].filename).lower().endswith(".gz"):
            return _unpacked(Path(image.file_map["image"].filename), proxy, shape)
        try:
            stored = np.asarray(proxy.get_unscaled())
        # numpy and nibabel each have errors of their own for a file that is too short.
        except Exception as error:
            raise _corrupt(path, error) from error
        return np.reshape(stored, shape[::-1], order="F").T

    stored = ReadOnce(load)
    slope, intercept = float(proxy.slope), float(proxy.inter)

    def read(start: int, stop: int) -> Values:
        values = stored(start, stop)
        if (slope, intercept) == (1, 0):
            return values
        return np.asarray(values.astype(np.float32) * slope + intercept, np.float32)

    return Scan(
        name=name,
        geometry=grid,
        read=read,
        format="NIfTI",
        source=path,
        header=header,
        decisions=decisions,
    )


def read_nibabel(image: Any, name: str) -> Scan:
    """Make a scan of a nibabel image, with its affine.

    Raises
    ------
    ScanError
        The image is not one volume of numbers in a known orientation, or its grid is impossible.
    """
    oriented = isinstance(image, nib.Nifti1Pair | nib.MGHImage)
    if not oriented or image.get_data_dtype().kind not in "iuf":
        raise ScanError(
            f"a {type(image).__name__} of {image.get_data_dtype()} is not a CT",
            where=name,
            fix="give a Nifti1Image of numbers, or pleura.from_array(array, affine=...)",
        )
    shape = check_shape(_slowest_first(image.shape), name)

    def load() -> Values:
        try:
            array = np.asarray(image.dataobj)
        # numpy and nibabel each have errors of their own for a file that is too short.
        except Exception as error:
            raise _corrupt(Path(name), error) from error
        return np.reshape(array, shape[::-1], order="F").T

    if isinstance(image, nib.MGHImage):
        lps = LPS_FROM_RAS @ np.asarray(image.affine)
        return Scan(name, Geometry(shape, lps[:, [2, 1, 0, 3]]), ReadOnce(load))
    header = image.header.copy()
    if not np.allclose(image.affine, header.get_best_affine(), atol=1e-4):
        header.set_sform(image.affine, code="aligned")  # the affine was replaced in memory
    grid, decisions = _geometry(header, shape)
    return Scan(name, grid, ReadOnce(load), format="NIfTI", header=header, decisions=decisions)


def write_nifti(path: Path, array: Values, geometry: Geometry, like: Any = None) -> None:
    """Write an array (slices, rows, columns) on a grid, with the header of the scan if given.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    if like is not None:
        header = like.copy()
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        header["descrip"] = header["aux_file"] = b""  # may name the patient
        header.extensions.clear()
        voxels = array.T.reshape(header.get_data_shape(), order="F")
        kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        image: Any = kind(voxels, None, header)
    else:
        affine = LPS_FROM_RAS @ geometry.affine[:, [2, 1, 0, 3]]
        image = nib.Nifti1Image(array.T, affine)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code="scanner")
        # A qform holds no shear: readers that prefer it must not find a straightened grid.
        image.set_qform(affine, code="scanner" if geometry.shear < 0.01 else "unknown")
    content = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        content = igzip.compress(content, 1, mtime=0)
    write_atomically(path, lambda file: file.write(content))


def _unpacked(path: Path, proxy: Any, shape: tuple[int, ...]) -> Values:
    size = int(np.prod(shape, dtype=np.int64)) * proxy.dtype.itemsize
    content = read_voxels(path, 0, np.dtype(np.uint8), (proxy.offset + size,), "gzip")
    return np.asarray(content[proxy.offset :].view(proxy.dtype).reshape(shape))


def _check_kind(image: Any, dtype: np.dtype[Any]) -> None:
    if not isinstance(image, nib.Nifti1Pair):
        raise ScanError("no NIfTI but an older format", where=None, fix="convert it to NIfTI")
    if dtype.kind not in "iuf":
        what = f"voxels of type {dtype} are no CT values"
        raise ScanError(what, where=None, fix="export the CT values")


def _check_claim(image: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse a header that claims more than its file can unpack to, before memory is taken."""
    size = Path(image.file_map["image"].filename).stat().st_size
    claimed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if claimed > DEFLATE * size:
        raise ScanError(
            f"the header claims {claimed} bytes of voxels, and the file has {size}",
            where=None,
            fix="copy or export the file again",
        )


def _slowest_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Turn NIfTI's (columns, rows, slices, ...) round; a single slice may lack its third axis."""
    return tuple(int(n) for n in (shape if len(shape) > 2 else (*shape, 1))[::-1])


def _geometry(header: Any, shape: tuple[int, int, int]) -> tuple[Geometry, tuple[Decision, ...]]:
    scale = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # an unusable quaternion beside a good sform
        if not sform_code:
            raise
        qform, qform_code = None, 0
    ras, decisions = header.get_best_affine(), []
    if not sform_code and not qform_code:
        sides = np.abs(header.get_zooms()[:3])
        ras = np.diag([-1.0, 1.0, 1.0, 1.0]) @ np.diag([*(*sides, 1.0)[:3], 1.0])
        choice = "columns to the left, rows to the front, slices to the head"
        reason = "the NIfTI header has neither qform nor sform; right and left may be swapped"
        decisions.append(Decision("orientation", choice, reason, warning=True))
    elif sform_code and qform_code and not np.allclose(sform, qform, atol=0.01):
        reason = "the NIfTI header's qform and sform differ"
        decisions.append(Decision("orientation", "the sform", reason, warning=True))
    lps = LPS_FROM_RAS @ np.diag([scale, scale, scale, 1]) @ ras
    known = bool(sform_code or qform_code)
    return Geometry(shape, lps[:, [2, 1, 0, 3]], orientation_known=known), tuple(decisions)


def _corrupt(path: Path, error: Exception) -> ScanError:
    return ScanError(
        f"the NIfTI file cannot be read: it is truncated or corrupt ({first_line(error)})",
        where=path,
        fix="copy or export the file again",
    )
