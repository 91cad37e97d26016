"""MetaImage files, .mha and .mhd (https://itk.org/Wiki/ITK/MetaIO/Documentation).

The header is parsed here: other readers open files outside the folder and decompress without a
limit, or need 260 MB of libraries.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from pleura.errors import PleuraError, ScanError
from pleura.files.atomic import write_atomically
from pleura.formats.format import check_voxel_type
from pleura.formats.raw import Compression, check_shape, read_voxels, referenced_file
from pleura.scan.geometry import Geometry, affine_from_axes, check_lengths
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, ReadParts, Scan
from pleura.typing import AnyArray

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MAX_HEADER = 1 << 16
_GRID_FIELDS = (
    "NDims",
    "DimSize",
    "TransformMatrix",
    "Offset",
    "CenterOfRotation",
    "AnatomicalOrientation",
    "ElementSpacing",
)
_GRID_VALUE = re.compile(r"[-+.\deE\s]+|[RLAPIS]{2,3}")
"""Valid values of these fields: numbers, or letters of directions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MetaImageOrigin(Origin):
    """A MetaImage file, with the fields of its header."""

    fields: Mapping[str, str]
    format: FormatName = "MetaImage"


def read_metaimage(path: Path, name: str) -> Scan:
    """Read the header of a MetaImage file; voxels are read when they are needed.

    Raises
    ------
    ScanError
        The header is corrupt, or describes colours, several volumes, or an impossible grid.
    """
    fields, start = _header(path)
    try:
        if int(fields.get("ElementNumberOfChannels", "1")) != 1:
            raise ScanError("the image is in colour", where=path, hint="export the CT values")
        sizes = tuple(int(n) for n in fields["DimSize"].split()[::-1])
        _check_dimensions(sizes)
        dtype = np.dtype(_TYPES[fields["ElementType"]])
        shape = check_shape(sizes, path, dtype)
        grid, decisions = _geometry(fields, shape)
        skip = int(fields.get("HeaderSize", "0"))
    except PleuraError as error:
        raise ScanError(error.message, where=path, hint=error.hint) from error
    except (KeyError, ValueError) as error:
        raise ScanError(
            f"a field of the MetaImage header is missing or invalid: {error}",
            where=path,
            hint="copy or export the file again",
        ) from error
    if _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", ""))):
        dtype = dtype.newbyteorder(">")
    if not _is_true(fields.get("BinaryData", "True")):
        raise ScanError(
            "the voxels are stored as text", where=path, hint="save them as binary data"
        )
    local = fields["ElementDataFile"] == "LOCAL"
    data = path if local else referenced_file(path, fields["ElementDataFile"])
    data_start = None if skip == -1 else skip + (start if local else 0)
    compressed = _is_true(fields.get("CompressedData", ""))

    compression: Compression = "zlib" if compressed else "none"
    voxels = ReadParts(lambda: read_voxels(data, data_start, dtype, shape, compression))
    return Scan(
        name=name,
        geometry=grid,
        read=voxels,
        release=voxels.release,
        origin=MetaImageOrigin(path=path, files=tuple({path: None, data: None}), fields=fields),
        decisions=decisions,
    )


def write_metaimage(
    path: Path, array: AnyArray, geometry: Geometry, origin: Origin | None = None
) -> None:
    """Write an array (slices, rows, columns) with the grid of its ``origin``, or else ``geometry``.

    Only the grid fields of the header are copied: other fields and comments may identify the
    patient.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    compressed = zlib.compress(array.astype(array.dtype.newbyteorder("<"), order="C").tobytes(), 6)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(compressed)),
        "TransformMatrix": _text(geometry.directions.T[::-1]),
        "Offset": _text(geometry.affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(np.array(geometry.spacing[::-1])),
        "DimSize": " ".join(map(str, geometry.shape[::-1])),
    }
    if isinstance(origin, MetaImageOrigin):
        source = origin.fields
        grid = {
            key: source[key] for key in _GRID_FIELDS if _GRID_VALUE.fullmatch(source.get(key, ""))
        }
        fields = {k: v for k, v in fields.items() if k not in _GRID_FIELDS} | grid
    fields["ElementType"] = next(k for k, v in _TYPES.items() if np.dtype(v) == array.dtype)
    fields["ElementDataFile"] = "LOCAL"  # must be the last field
    text = "".join(f"{key} = {value}\n" for key, value in fields.items())
    write_atomically(path, lambda file: file.write(text.encode() + compressed))


class MetaImageFormat:
    """MetaImage files: read and written with their geometry."""

    name: FormatName = "MetaImage"
    suffixes: tuple[str, ...] = (".mha", ".mhd")
    output_suffixes: tuple[str, ...] = (".mha",)
    stores_geometry = True

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read the header; voxels are read when they are needed."""
        return read_metaimage(path, name)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that the format stores a dtype."""
        check_voxel_type(path, "MetaImage", dtype)
        return ()

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write voxels with the geometry in the header of their scan."""
        write_metaimage(path, image.values(), image.geometry, image.origin)


METAIMAGE = MetaImageFormat()


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and its length in bytes."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_HEADER)
    except OSError as error:
        raise ScanError(
            f"the file cannot be read ({error.strerror})",
            where=path,
            hint="check the path and its permissions",
        ) from error
    fields, end = {}, 0
    while "ElementDataFile" not in fields:
        line_end = text.find(b"\n", end)
        line = text[end:] if line_end < 0 else text[end:line_end]
        key, equals, value = line.decode("latin-1").partition("=")
        end = len(text) if line_end < 0 else line_end + 1
        if equals:
            fields[_ALIASES.get(key.strip(), key.strip())] = value.strip()
        if line_end < 0:
            break
    if "ElementDataFile" not in fields:
        raise ScanError(
            "not a MetaImage header: the field ElementDataFile is missing",
            where=path,
            hint="copy or export the file again",
        )
    return fields, end


_ALIASES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
}
"""Other names that MetaIO accepts for the same fields."""


def _geometry(
    fields: dict[str, str], shape: tuple[int, int, int]
) -> tuple[Geometry, tuple[Decision, ...]]:
    n = len(fields["DimSize"].split())
    spacing = np.array((fields.get("ElementSpacing") or "1 " * n).split(), np.float64)
    axes, offset = np.eye(3), np.zeros(3)
    orientation_known = "TransformMatrix" in fields and n == 3
    if orientation_known:
        axes = np.array(fields["TransformMatrix"].split(), np.float64).reshape(3, 3)
        offset = np.array(fields.get("Offset", "0 0 0").split(), np.float64)
    check_lengths(spacing, axes, offset)
    steps = axes[: len(spacing)] * spacing[:, None]
    z, y, x = (*axes[len(steps) :][::-1], *steps[::-1])[-3:]
    decisions: tuple[Decision, ...] = ()
    if not orientation_known:
        choice = "columns to the left, rows to the back, slices to the head"
        reason = "the MetaImage header has no 3x3 TransformMatrix; right and left may be swapped"
        decisions = (Decision("orientation", choice, reason, warning=True),)
    grid = Geometry(
        shape,
        affine_from_axes(offset, (z, y, x)),
        spacing_known="ElementSpacing" in fields,
        orientation_known=orientation_known,
    )
    return grid, decisions


def _check_dimensions(sizes: tuple[int, ...]) -> None:
    if len(sizes) > 3:
        message = f"the image has {len(sizes)} axes, so it is not a single volume"
        raise ScanError(message, where=None, hint="save one volume per file")


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1")


def _text(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return " ".join(repr(float(value)) for value in values.ravel())
