"""NIfTI-1 and NIfTI-2 files (https://nifti.nimh.nih.gov)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import DTypeLike

from pleura.errors import PleuraError, ScanError, first_line
from pleura.files.atomic import write_atomically
from pleura.formats.format import check_voxel_type
from pleura.formats.raw import Compression, check_shape, check_voxels, open_compressed, read_voxels
from pleura.scan.geometry import LPS_FROM_RAS, Geometry
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, ReadOnce, Scan
from pleura.typing import AnyArray

_HEADER_SIZES = 348, 540  # of NIfTI-1 and NIfTI-2, in bytes
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_GRID_FIELDS = (
    "dim",
    "dim_info",
    "pixdim",
    "xyzt_units",
    "qform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "sform_code",
    "srow_x",
    "srow_y",
    "srow_z",
)
"""Header fields that define the grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NiftiOrigin(Origin):
    """A NIfTI file or nibabel image, with its header."""

    header: nib.Nifti1Header
    format: FormatName = "NIfTI"


def read_nifti(path: Path, name: str) -> Scan:
    """Read the header of a NIfTI file; voxels are read when they are needed.

    Raises
    ------
    ScanError
        The file is truncated or corrupt, or contains colours, several volumes, or an impossible
        grid.
    """
    try:
        header = _header(path)
        dtype = _dtype(header)
        shape = check_shape(_reverse_axes(header.get_data_shape()), path, dtype)
        data, start = _voxel_file(path, header)
        compression = _compression(data)
        check_voxels(data, math.prod(shape) * dtype.itemsize, compression)
        grid, decisions = _geometry(header, shape)
        slope, intercept = header.get_slope_inter()
    except PleuraError as error:
        raise ScanError(error.message, where=path, hint=error.hint) from error
    # nibabel raises many kinds of errors for a damaged header.
    except Exception as error:
        raise _corrupt(path, error) from error

    def load() -> AnyArray:
        voxels = read_voxels(data, 0, dtype, shape, compression, skip=start)
        return voxels.astype(dtype.newbyteorder("="), copy=False)

    stored = ReadOnce(load)

    def read(start: int, stop: int) -> AnyArray:
        values = stored(start, stop)
        if slope is None or (slope, intercept) == (1, 0):
            return values
        scaled = values.astype(np.float32)
        scaled *= np.float32(slope)
        scaled += np.float32(intercept)
        return scaled

    return Scan(
        name=name,
        geometry=grid,
        read=read,
        origin=NiftiOrigin(path=path, files=tuple({path: None, data: None}), header=header),
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
            f"a {type(image).__name__} of type {image.get_data_dtype()} is not a CT",
            where=name,
            hint="pass a Nifti1Image of numbers, or pleura.from_array(array, affine=...)",
        )
    shape = check_shape(_reverse_axes(image.shape), name)

    def load() -> AnyArray:
        try:
            array = np.asarray(image.dataobj)
        # numpy and nibabel raise many kinds of errors for a truncated file.
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
    return Scan(name, grid, ReadOnce(load), NiftiOrigin(header=header), decisions)


def write_nifti(
    path: Path, array: AnyArray, geometry: Geometry, origin: Origin | None = None
) -> None:
    """Write an array (slices, rows, columns) with the grid of its ``origin``, or else ``geometry``.

    Only the grid fields of the header are copied: other fields and extensions may identify the
    patient.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    if isinstance(origin, NiftiOrigin):
        source = origin.header
        version_2 = isinstance(source, nib.Nifti2Header)
        kind: Any = nib.Nifti2Image if version_2 else nib.Nifti1Image
        header = kind.header_class()
        for field in _GRID_FIELDS:
            header[field] = source[field]
        if header["sform_code"] and not header["qform_code"] and not geometry.is_sheared:
            # ITK regards an sform as sheared from 1e-4, and then requires a qform.
            header.set_qform(header.get_sform(), code=int(header["sform_code"]))
        header.set_data_dtype(array.dtype)
        image: Any = kind(array.T.reshape(header.get_data_shape(), order="F"), None, header)
    else:
        affine = LPS_FROM_RAS @ geometry.affine[:, [2, 1, 0, 3]]
        image = nib.Nifti1Image(array.T, affine, dtype=array.dtype)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code="scanner")
        # A qform cannot represent shear, and some readers prefer it to the sform.
        image.set_qform(affine, code="unknown" if geometry.is_sheared else "scanner")
    content = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        content = igzip.compress(content, 1, mtime=0)
    write_atomically(path, lambda file: file.write(content))


class NiftiFormat:
    """NIfTI files: read and written with their geometry."""

    name: FormatName = "NIfTI"
    suffixes: tuple[str, ...] = (".nii.gz", ".nii", ".hdr.gz", ".hdr")
    output_suffixes: tuple[str, ...] = (".nii.gz", ".nii")
    stores_geometry = True

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read the header; voxels are read when they are needed."""
        return read_nifti(path, name)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that the format stores a dtype, and whether readers accept a sheared grid."""
        check_voxel_type(path, "NIfTI", dtype)
        geometry = scan.geometry
        if not geometry.is_sheared:
            return ()
        choice = f"a NIfTI file sheared by {geometry.skew:.3g} degrees"
        reason = (
            "tools based on ITK, such as 3D Slicer, ITK-SNAP and SimpleITK, reject it or ignore "
            "the shear; write .nrrd or .mha for them"
        )
        return (Decision("output", choice, reason, warning=True),)

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write voxels with the geometry in the header of their scan."""
        write_nifti(path, image.values(), image.geometry, image.origin)


NIFTI = NiftiFormat()


def _header(path: Path) -> Any:
    """Read the header without extensions, which may have any size and are not used."""
    with path.open("rb") as file:
        stream = file if _compression(path) == "none" else open_compressed(file, "gzip")
        content = stream.read(max(_HEADER_SIZES))
    kind: Any
    sizes = [int.from_bytes(content[:4], order) for order in ("little", "big")]
    if _HEADER_SIZES[0] in sizes:
        kind = nib.nifti1.Nifti1PairHeader if _is_pair(path) else nib.Nifti1Header
    elif _HEADER_SIZES[1] in sizes:
        kind = nib.nifti2.Nifti2PairHeader if _is_pair(path) else nib.Nifti2Header
    else:
        raise ScanError(
            "not a NIfTI header: the file is truncated, corrupt, or of another format",
            where=None,
            hint="copy or export the file again",
        )
    header = kind(content[: kind.template_dtype.itemsize])
    if bytes(header["magic"])[:2] not in (b"n+", b"ni"):
        raise ScanError(
            "the file is in Analyze format, not NIfTI", where=None, hint="convert it to NIfTI"
        )
    return header


def _dtype(header: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.kind not in "iuf":
        message = f"voxels of type {dtype} are not CT values"
        raise ScanError(message, where=None, hint="export the CT values")
    return dtype


def _is_pair(path: Path) -> bool:
    return path.name.lower().endswith((".hdr", ".hdr.gz"))


def _voxel_file(path: Path, header: Any) -> tuple[Path, int]:
    """Return the file with the voxels, and their offset in bytes after decompression."""
    offset = header.get_data_offset()
    if not _is_pair(path):
        return path, max(offset, header.single_vox_offset)
    stem = path.name[: path.name.lower().rindex(".hdr")]
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        data = path.with_name(stem + suffix)
        if data.is_file():
            return data, max(offset, 0)
    raise ScanError(
        f"the file with the voxels is missing: {stem}.img or {stem}.img.gz",
        where=None,
        hint="move header and data into one folder, under the same name",
    )


def _compression(path: Path) -> Compression:
    """Return the compression by content: suffixes are often wrong."""
    with path.open("rb") as file:
        return "gzip" if file.read(2) == b"\x1f\x8b" else "none"


def _reverse_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (..., slices, rows, columns) for the axis order of NIfTI, which is the reverse."""
    return tuple(int(n) for n in (shape if len(shape) > 2 else (*shape, 1))[::-1])


def _geometry(header: Any, shape: tuple[int, int, int]) -> tuple[Geometry, tuple[Decision, ...]]:
    scale = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except ValueError:  # an invalid quaternion; the sform may be valid
        if not sform_code:
            raise
        qform, qform_code = None, 0
    ras, decisions = header.get_best_affine(), []
    if not sform_code and not qform_code:
        zooms = np.abs(header.get_zooms()[:3])
        ras = np.diag([-1.0, 1.0, 1.0, 1.0]) @ np.diag([*(*zooms, 1.0)[:3], 1.0])
        choice = "columns to the left, rows to the front, slices to the head"
        reason = "the NIfTI header has neither qform nor sform; right and left may be swapped"
        decisions.append(Decision("orientation", choice, reason, warning=True))
    elif sform_code and qform_code and not np.allclose(sform, qform, atol=0.01):
        reason = "the NIfTI header's qform and sform differ"
        decisions.append(Decision("orientation", "the sform", reason, warning=True))
    lps = LPS_FROM_RAS @ np.diag([scale, scale, scale, 1]) @ ras
    orientation_known = bool(sform_code or qform_code)
    geometry = Geometry(shape, lps[:, [2, 1, 0, 3]], orientation_known=orientation_known)
    return geometry, tuple(decisions)


def _corrupt(path: Path, error: Exception) -> ScanError:
    return ScanError(
        f"the NIfTI file cannot be read: it is truncated or corrupt ({first_line(error)})",
        where=path,
        hint="copy or export the file again",
    )
