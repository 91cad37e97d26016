"""NIfTI-1 and NIfTI-2 files (https://nifti.nimh.nih.gov)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip
from numpy.typing import DTypeLike

from pleura.errors import PleuraError, ScanError, first_line
from pleura.files.atomic import write_atomically
from pleura.formats.format import check_voxel_type
from pleura.formats.nifti_header import (
    ALIGNED,
    HEADER_SIZE,
    SCANNER,
    UNKNOWN,
    HeaderError,
    NiftiHeader,
    new_header,
)
from pleura.formats.raw import (
    READ_ERRORS,
    Compression,
    check_shape,
    check_voxels,
    open_compressed,
    read_voxels,
)
from pleura.scan.geometry import LPS_FROM_RAS, Geometry
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, ReadOnce, ReadParts, Scan
from pleura.typing import AnyArray

_CORRUPTION: tuple[type[Exception], ...] = (HeaderError, *READ_ERRORS)


@dataclass(frozen=True, kw_only=True, eq=False)
class NiftiOrigin(Origin):
    """A NIfTI file or nibabel image, with its header."""

    header: NiftiHeader
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
        dtype = _voxel_type(header)
        shape = check_shape(_reverse_axes(header.shape), path, dtype)
        data, start = _voxel_file(path, header)
        compression = _compression(data)
        check_voxels(data, math.prod(shape) * dtype.itemsize, compression)
        grid, decisions = _geometry(header, shape)
        scaling = header.slope_and_intercept
    except PleuraError as error:
        raise ScanError(error.message, where=path, hint=error.hint) from error
    except _CORRUPTION as error:
        raise _corrupt(path, error) from error

    stored = ReadParts(lambda: read_voxels(data, 0, dtype, shape, compression, skip=start))

    def read(start: int, stop: int) -> AnyArray:
        values = stored(start, stop)
        if scaling in (None, (1, 0)):
            return values
        slope, intercept = scaling
        scaled = values.astype(np.float32)
        scaled *= np.float32(slope)
        scaled += np.float32(intercept)
        return scaled

    return Scan(
        name=name,
        geometry=grid,
        read=read,
        release=stored.release,
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
    import nibabel as nib

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
    header = NiftiHeader.parse(image.header.binaryblock)
    if not np.allclose(image.affine, image.header.get_best_affine(), atol=1e-4):
        header.set_sform(image.affine, ALIGNED)  # the affine was replaced in memory
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
        header = origin.header.grid_only(array.dtype)
        sform = header.sform
        if sform is not None and not header.qform_code and not geometry.is_sheared:
            # ITK regards an sform as sheared from 1e-4, and then requires a qform.
            header.set_qform(sform, header.sform_code)
    else:
        header = new_header(array.dtype)
        header.fields["dim"] = 3, *array.shape[::-1], 1, 1, 1, 1
        affine = LPS_FROM_RAS @ geometry.affine[:, [2, 1, 0, 3]]
        header.set_sform(affine, SCANNER)
        # A qform cannot represent shear, and some readers prefer it to the sform.
        header.set_qform(affine, UNKNOWN if geometry.is_sheared else SCANNER)
    stored = array.dtype.newbyteorder("<")

    def write(file: IO[bytes]) -> None:
        file.write(header.to_bytes())
        for plane in array:  # no copy of the whole volume
            file.write(np.ascontiguousarray(plane, stored).tobytes())

    def compress(file: IO[bytes]) -> None:
        stream: Any = igzip.IGzipFile("", "wb", 1, file, mtime=0)  # type: ignore[no-untyped-call]
        with stream:
            write(stream)

    write_atomically(path, compress if path.name.lower().endswith(".gz") else write)


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


def _header(path: Path) -> NiftiHeader:
    """Read the header without extensions, which may have any size and are not used."""
    with path.open("rb") as file:
        stream = file if _compression(path) == "none" else open_compressed(file, "gzip")
        content = stream.read(HEADER_SIZE)
    try:
        header = NiftiHeader.parse(content)
    except HeaderError as error:
        raise ScanError(
            f"not a NIfTI header: {error}",
            where=None,
            hint="copy or export the file again",
        ) from error
    if not header.is_nifti:
        raise ScanError(
            "the file is in Analyze format, not NIfTI", where=None, hint="convert it to NIfTI"
        )
    return header


def _voxel_type(header: NiftiHeader) -> np.dtype[Any]:
    if header.voxel_type is None:
        message = f"voxels of NIfTI type {int(header.fields['datatype'])} are not CT values"
        raise ScanError(message, where=None, hint="export the CT values")
    return header.voxel_type


def _is_pair(path: Path) -> bool:
    return path.name.lower().endswith((".hdr", ".hdr.gz"))


def _voxel_file(path: Path, header: NiftiHeader) -> tuple[Path, int]:
    """Return the file with the voxels, and their offset in bytes after decompression."""
    if not _is_pair(path):
        return path, header.voxel_offset(separate=False)
    stem = path.name[: path.name.lower().rindex(".hdr")]
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        data = path.with_name(stem + suffix)
        if data.is_file():
            return data, header.voxel_offset(separate=True)
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


def _geometry(
    header: NiftiHeader, shape: tuple[int, int, int]
) -> tuple[Geometry, tuple[Decision, ...]]:
    sform, decisions = header.sform, []
    try:
        qform = header.qform
    except (HeaderError, ScanError):
        if sform is None:
            raise
        qform = None
    ras = qform if sform is None else sform
    orientation_known = ras is not None
    if ras is None:
        ras = np.diag([-1.0, 1.0, 1.0, 1.0]) @ np.diag([*header.zooms, 1.0])
        choice = "columns to the left, rows to the front, slices to the head"
        reason = "the NIfTI header has neither qform nor sform; right and left may be swapped"
        decisions.append(Decision("orientation", choice, reason, warning=True))
    elif sform is not None and qform is not None and not np.allclose(sform, qform, atol=0.01):
        reason = "the NIfTI header's qform and sform differ"
        decisions.append(Decision("orientation", "the sform", reason, warning=True))
    scale = header.millimetres
    lps = LPS_FROM_RAS @ np.diag([scale, scale, scale, 1]) @ ras
    geometry = Geometry(shape, lps[:, [2, 1, 0, 3]], orientation_known=orientation_known)
    return geometry, tuple(decisions)


def _corrupt(path: Path, error: Exception) -> ScanError:
    return ScanError(
        f"the NIfTI file cannot be read: it is truncated or corrupt ({first_line(error)})",
        where=path,
        hint="copy or export the file again",
    )
