"""Headers of NIfTI-1 and NIfTI-2 files, without nibabel, whose import takes longer than the rest.

Fields and coordinates are defined in nifti1.h and nifti2.h (https://nifti.nimh.nih.gov). World
coordinates are RAS, in the unit of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.scan.geometry import check_lengths

_INTENT = ("intent_p1", "intent_p2", "intent_p3")
_QFORM = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_ROWS = ("srow_x", "srow_y", "srow_z")


def _fields(names: str | tuple[str, ...], dtype: str) -> list[tuple[str, str]]:
    return [(name, dtype) for name in (names.split() if isinstance(names, str) else names)]


NIFTI_1 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("unused", "S35"),
        ("dim_info", "u1"),
        ("dim", "<i2", (8,)),
        *_fields(_INTENT, "<f4"),
        *_fields("intent_code datatype bitpix slice_start", "<i2"),
        ("pixdim", "<f4", (8,)),
        *_fields("vox_offset scl_slope scl_inter", "<f4"),
        ("slice_end", "<i2"),
        *_fields("slice_code xyzt_units", "u1"),
        *_fields("cal_max cal_min slice_duration toffset", "<f4"),
        *_fields("glmax glmin", "<i4"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        *_fields("qform_code sform_code", "<i2"),
        *_fields(_QFORM, "<f4"),
        *((row, "<f4", (4,)) for row in _ROWS),
        ("intent_name", "S16"),
        ("magic", "S4"),
    ]
)
"""Header of NIfTI-1, little-endian; ``unused`` are fields of Analyze."""

NIFTI_2 = np.dtype(
    [
        ("sizeof_hdr", "<i4"),
        ("magic", "S8"),
        *_fields("datatype bitpix", "<i2"),
        ("dim", "<i8", (8,)),
        *_fields(_INTENT, "<f8"),
        ("pixdim", "<f8", (8,)),
        ("vox_offset", "<i8"),
        *_fields("scl_slope scl_inter cal_max cal_min slice_duration toffset", "<f8"),
        *_fields("slice_start slice_end", "<i8"),
        ("descrip", "S80"),
        ("aux_file", "S24"),
        *_fields("qform_code sform_code", "<i4"),
        *_fields(_QFORM, "<f8"),
        *((row, "<f8", (4,)) for row in _ROWS),
        *_fields("slice_code xyzt_units intent_code", "<i4"),
        ("intent_name", "S16"),
        ("dim_info", "u1"),
        ("unused", "S15"),
    ]
)
"""Header of NIfTI-2, little-endian."""

HEADER_SIZE = NIFTI_2.itemsize
"""Size in bytes of the larger header."""

_VOXEL_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Codes of the types that CT values may have."""

_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Sizes of an unknown unit (regarded as millimetre), metre, millimetre and micrometre."""

UNKNOWN, SCANNER, ALIGNED = 0, 1, 2
"""Codes of qform and sform; 0 defines no coordinates."""

_CODES = range(1, 6)
"""Codes of qform and sform that define coordinates."""

_MAX_SCALE = 1e9  # of slope and intercept: scaled values cannot overflow

_GRID_FIELDS = (
    *("dim", "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *_QFORM,
    *_ROWS,
)
_MAGIC = {NIFTI_1: b"n+1", NIFTI_2: b"n+2\0\r\n\x1a\n"}
_MAGICS = (*_MAGIC.values(), b"ni1", b"ni2\0\r\n\x1a\n", b"n+2", b"ni2")


class HeaderError(ValueError):
    """A header that is damaged, or not of a NIfTI file."""


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A header of NIfTI-1 or NIfTI-2.

    Attributes
    ----------
    fields:
        Array without axes of dtype ``NIFTI_1`` or ``NIFTI_2``.
    byte_order:
        Of the voxels: ``<`` or ``>``.
    """

    fields: NDArray[np.void]
    byte_order: Literal["<", ">"] = "<"

    @classmethod
    def parse(cls, content: bytes) -> NiftiHeader:
        """Parse the first bytes of a file, of which at most ``HEADER_SIZE`` are used.

        Raises
        ------
        HeaderError
            The bytes are no complete header.
        """
        orders: tuple[Literal["<", ">"], ...] = "<", ">"
        for order in orders:
            for dtype in (NIFTI_1, NIFTI_2):
                stored = dtype.newbyteorder(order)
                size = int(np.frombuffer(content[:4].ljust(4, b"\0"), f"{order}i4")[0])
                if size == dtype.itemsize <= len(content):
                    header = cls(np.frombuffer(content, stored, 1).astype(dtype)[0], order)
                    magic = bytes(header.fields["magic"])
                    known = magic in _MAGICS and header._unit in _MILLIMETRES
                    if header.is_nifti and not known:
                        raise HeaderError("the magic string or the unit of length is damaged")
                    return header
        raise HeaderError("it is truncated, corrupt, or of another format")

    @property
    def is_nifti(self) -> bool:
        """Whether the header is of NIfTI, and not of the older Analyze format."""
        return bytes(self.fields["magic"]).startswith(b"n")

    @property
    def _unit(self) -> int:
        return int(self.fields["xyzt_units"]) & 7

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes; the first one varies fastest."""
        axes = int(self.fields["dim"][0])
        if not 0 < axes < 8:
            raise HeaderError(f"{axes} axes")
        return tuple(int(n) for n in self.fields["dim"][1 : axes + 1])

    @property
    def voxel_type(self) -> np.dtype[Any] | None:
        """Type of the stored voxels; None if they cannot be CT values."""
        name = _VOXEL_TYPES.get(int(self.fields["datatype"]))
        return None if name is None else np.dtype(self.byte_order + name)

    def voxel_offset(self, *, separate: bool) -> int:
        """Return the offset in bytes of the voxels in their file.

        Parameters
        ----------
        separate:
            The voxels are in a separate file.
        """
        offset = float(self.fields["vox_offset"])
        if not abs(offset) < 2**53:
            raise HeaderError(f"the voxels begin at byte {offset}")
        if separate:
            return max(int(offset), 0)
        first = self.fields.dtype.itemsize + 4
        if 0 < offset < first:
            raise HeaderError(f"the voxels begin at byte {int(offset)}, in the header")
        return max(int(offset), first)

    @property
    def slope_and_intercept(self) -> tuple[float, float] | None:
        """Linear scaling of the stored voxels; None if they are not scaled."""
        slope, intercept = float(self.fields["scl_slope"]), float(self.fields["scl_inter"])
        if slope == 0 or not np.isfinite(slope):
            return None
        if not abs(intercept) < _MAX_SCALE or not abs(slope) < _MAX_SCALE:
            raise HeaderError(f"slope and intercept are {slope} and {intercept}")
        return slope, intercept

    @property
    def millimetres(self) -> float:
        """Size of the unit of length in millimetres."""
        return _MILLIMETRES[self._unit]

    @property
    def zooms(self) -> NDArray[np.float64]:
        """Distances of the voxels along the first three axes; 1 for axes that do not exist."""
        zooms = self._zooms
        zooms[len(self.shape) :] = 1
        return zooms

    @property
    def _zooms(self) -> NDArray[np.float64]:
        return np.abs(np.asarray(self.fields["pixdim"][1:4], np.float64))

    @property
    def sform_code(self) -> int:
        """Code of the sform; 0 if it defines no coordinates."""
        return self._code("sform_code")

    @property
    def qform_code(self) -> int:
        """Code of the qform; 0 if it defines no coordinates."""
        return self._code("qform_code")

    def _code(self, field: str) -> int:
        code = int(self.fields[field])
        return code if code in _CODES else UNKNOWN

    @property
    def sform(self) -> NDArray[np.float64] | None:
        """Affine (4, 4) from indices to RAS, by method 3 of nifti1.h; None without a code.

        Raises
        ------
        ScanError
            It contains impossible numbers.
        """
        if not self.sform_code:
            return None
        affine = np.array([*(self.fields[row] for row in _ROWS), (0, 0, 0, 1)], np.float64)
        check_lengths(affine)
        return affine

    @property
    def qform(self) -> NDArray[np.float64] | None:
        """Affine (4, 4) from indices to RAS, by method 2 of nifti1.h; None without a code.

        Raises
        ------
        ScanError, HeaderError
            It contains impossible numbers, or the quaternion is longer than 1.
        """
        if not self.qform_code:
            return None
        values = [float(self.fields[name]) for name in _QFORM]
        zooms = self._zooms
        check_lengths(values, zooms)
        flipped = float(self.fields["pixdim"][0]) == -1
        affine = np.eye(4)
        affine[:3, :3] = _rotation(*values[:3]) * zooms * (1, 1, -1 if flipped else 1)
        affine[:3, 3] = values[3:]
        return affine

    def grid_only(self, dtype: np.dtype[Any]) -> NiftiHeader:
        """Return a header with the same grid for other voxels, without any text."""
        header = new_header(dtype, self.fields.dtype)
        for name in _GRID_FIELDS:
            header.fields[name] = self.fields[name]
        header.fields["sform_code"] = self.sform_code
        header.fields["qform_code"] = self.qform_code
        return header

    def set_sform(self, affine: NDArray[np.float64], code: int) -> None:
        """Set the sform to an affine (4, 4)."""
        for row, values in zip(_ROWS, affine, strict=False):
            self.fields[row] = values
        self.fields["sform_code"] = code

    def set_qform(self, affine: NDArray[np.float64], code: int) -> None:
        """Set the qform to an affine (4, 4), with the nearest orthogonal axes."""
        zooms = np.linalg.norm(affine[:3, :3], axis=0)
        left, _, right = np.linalg.svd(affine[:3, :3] / zooms)
        axes = left @ right
        flipped = bool(np.linalg.det(axes) < 0)
        axes[:, 2] *= -1 if flipped else 1
        self.fields["pixdim"][:4] = -1 if flipped else 1, *zooms
        values = (*_quaternion(axes), *affine[:3, 3])
        for name, value in zip(_QFORM, values, strict=True):
            self.fields[name] = value
        self.fields["qform_code"] = code

    def to_bytes(self) -> bytes:
        """Return the header and an empty list of extensions."""
        return self.fields.tobytes() + bytes(4)


def new_header(dtype: np.dtype[Any], version: np.dtype[np.void] = NIFTI_1) -> NiftiHeader:
    """Return a header for voxels of a type in the same file, with the unit millimetre."""
    codes = {name: code for code, name in _VOXEL_TYPES.items()}
    fields = np.zeros((), version)
    fields["sizeof_hdr"], fields["magic"] = version.itemsize, _MAGIC[version]
    fields["datatype"], fields["bitpix"] = codes[dtype.str[1:]], 8 * dtype.itemsize
    fields["vox_offset"], fields["scl_slope"], fields["pixdim"] = version.itemsize + 4, 1, 1
    fields["xyzt_units"] = 2
    return NiftiHeader(fields)


def _rotation(b: float, c: float, d: float) -> NDArray[np.float64]:
    """Return the rotation matrix of a unit quaternion without its first component."""
    rest = 1 - (b * b + c * c + d * d)
    if not rest > -1e-6:
        raise HeaderError("the quaternion of the qform is longer than 1")
    a = np.sqrt(max(rest, 0.0))
    if rest < 1e-7:  # rounding
        scale = 1 / np.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b * scale, c * scale, d * scale
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the last three components of the unit quaternion of a rotation matrix.

    The quaternion is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack,
    doi:10.2514/2.4654), which is stable for every rotation.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    _, vectors = np.linalg.eigh(matrix)
    quaternion: NDArray[np.float64] = vectors[:, -1]
    return quaternion[1:] * (-1 if quaternion[0] < 0 else 1)
