"""NRRD files (http://teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import DTypeLike, NDArray

from pleura.errors import PleuraError, ScanError
from pleura.files.atomic import write_atomically
from pleura.formats.format import check_voxel_type
from pleura.formats.raw import Compression, check_shape, read_voxels, referenced_file
from pleura.scan.geometry import LPS_FROM_RAS, Geometry, affine_from_axes, check_lengths
from pleura.scan.labels import LabelMap
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, ReadParts, Scan
from pleura.typing import AnyArray

_MAX_HEADER = 1 << 20
_SKIP_UNITS = "line", "byte"  # of "line skip" or "lineskip"
_COMPRESSIONS: dict[str, Compression] = {
    "raw": "none",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
}
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"
    ),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("signed long long", "signed long long int"), "i8"),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}
"""The names of voxel types in the NRRD definition, section 5."""

_GRID_FIELDS = (
    "space",
    "space dimension",
    "space directions",
    "space origin",
    "spacings",
    "space units",
    "kinds",
)

_KINDS = {"domain", "space"}
_LAYER_KINDS = {"list", "vector"}
_TO_LPS = {
    "left-posterior-superior": np.eye(4),
    "lps": np.eye(4),
    "right-anterior-superior": LPS_FROM_RAS,
    "ras": LPS_FROM_RAS,
    "left-anterior-superior": np.diag([1.0, -1.0, 1.0, 1.0]),
    "las": np.diag([1.0, -1.0, 1.0, 1.0]),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class NrrdOrigin(Origin):
    """An NRRD file, with the fields of its header."""

    header: Mapping[str, Any]
    format: FormatName = "NRRD"


@dataclass(frozen=True, eq=False)
class NrrdFile:
    """An NRRD file whose voxels are not read yet.

    Parameters
    ----------
    header, geometry, decisions:
        The fields of the header, its grid, and how that was interpreted.
    layers:
        Number of values per voxel.
    data:
        The file with the voxels.
    voxels:
        Returns slices ``start`` to ``stop`` (slices, rows, columns, layers).
    """

    header: Mapping[str, Any]
    geometry: Geometry
    decisions: tuple[Decision, ...]
    layers: int
    data: Path
    voxels: ReadParts


def open_nrrd(path: Path) -> NrrdFile:
    """Read the header of an NRRD file.

    Raises
    ------
    ScanError
        The header is corrupt, or describes colours, several volumes, or an impossible grid.
    """
    try:
        with path.open("rb") as file:
            head = io.BytesIO(file.read(_MAX_HEADER))
        header = nrrd.read_header(head)
        start = head.tell()
        dtype = _dtype(header, path)
        sizes = tuple(int(n) for n in header["sizes"][::-1])
        layers = _layers(header)
        shape = check_shape(sizes[: len(sizes) - (layers > 0)], path, dtype)
        grid, decisions = _geometry(header, shape)
    except PleuraError as error:
        raise ScanError(error.message, where=path, hint=error.hint) from error
    # pynrrd raises many kinds of errors for a damaged header.
    except Exception as error:
        raise ScanError(
            f"the NRRD header cannot be read ({str(error) or type(error).__name__})",
            where=path,
            hint="copy or export the file again",
        ) from error
    encoding = str(header.get("encoding", "raw")).lower()
    if encoding not in _COMPRESSIONS:
        raise ScanError(
            f"NRRD encoding '{encoding}' is not supported",
            where=path,
            hint=f"save it with one of the encodings {', '.join(sorted(_COMPRESSIONS))}",
        )
    data, skip = path, start
    if "data file" in header or "datafile" in header:
        data, skip = referenced_file(path, str(header.get("data file", header.get("datafile")))), 0
    lines, skipped = (int(header.get(f"{k} skip", header.get(f"{k}skip", 0))) for k in _SKIP_UNITS)
    if lines or skipped > 0:
        raise ScanError(
            "NRRD files that skip lines or bytes are not supported",
            where=path,
            hint="save it again without line skip and byte skip",
        )
    at_end = skipped == -1
    stored = (*shape, max(layers, 1))

    first, compression = None if at_end else skip, _COMPRESSIONS[encoding]
    voxels = ReadParts(lambda: read_voxels(data, first, dtype, stored, compression))
    return NrrdFile(header, grid, decisions, max(layers, 1), data, voxels)


def _layers(header: Any) -> int:
    """Return the size of a first axis that is not in space, as in .seg.nrrd files; else 0."""
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    return int(header["sizes"][0]) if len(kinds) == 4 and kinds[0] in _LAYER_KINDS else 0


def read_nrrd(path: Path, name: str) -> Scan:
    """Read the header of an NRRD file; voxels are read when they are needed.

    Raises
    ------
    ScanError
        As `open_nrrd`; or there are several values per voxel.
    """
    file = open_nrrd(path)
    if file.layers > 1:
        raise ScanError(
            f"the file has {file.layers} values per voxel, not CT values",
            where=path,
            hint="save one volume per file",
        )
    return Scan(
        name=name,
        geometry=file.geometry,
        read=lambda start, stop: file.voxels(start, stop)[..., 0],
        release=file.voxels.release,
        origin=NrrdOrigin(
            path=path, files=tuple({path: None, file.data: None}), header=file.header
        ),
        decisions=file.decisions,
    )


def write_nrrd(
    path: Path,
    array: AnyArray,
    geometry: Geometry,
    origin: Origin | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write an array with the grid of its ``origin``, or else ``geometry``.

    The array is (slices, rows, columns), or (slices, rows, columns, layers).

    Only the grid fields of the header are copied: other fields and comments may identify the
    patient.

    Parameters
    ----------
    path, array, geometry, origin:
        The file, the array and its grid.
    fields:
        Key/value pairs to add to the header.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    header: dict[str, Any] = {"encoding": "gzip"}
    if isinstance(origin, NrrdOrigin):
        source = origin.header
        header |= {key: source[key] for key in _GRID_FIELDS if key in source}
        if str(header.get("space", "")).lower() not in _TO_LPS:
            header.pop("space", None)
        if not set(header.get("kinds", [])) <= _KINDS:
            del header["kinds"]
        array = array.reshape(*(int(n) for n in source["sizes"][::-1]), *array.shape[3:])
    else:
        header |= {
            "space": "left-posterior-superior",
            "space directions": geometry.affine[:3, 2::-1].T,
            "space origin": geometry.affine[:3, 3],
            "kinds": ["domain"] * 3,
        }
    if array.ndim > 3:
        header = _with_layers(header)
    header |= fields or {}
    content = io.BytesIO()
    nrrd.write(content, array, header, index_order="C")
    write_atomically(path, lambda file: file.write(content.getbuffer()))


def _with_layers(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with an axis of layers before the axes of space, as 3D Slicer writes it."""
    layered = {**header, "kinds": ["list", *(header.get("kinds") or ["domain"] * 3)]}
    if "space directions" in header:
        directions = np.asarray(header["space directions"], float)
        layered["space directions"] = np.vstack([np.full(directions.shape[1], np.nan), directions])
    if "spacings" in header:
        layered["spacings"] = [np.nan, *header["spacings"]]
    return layered


class NrrdFormat:
    """NRRD files: read and written with their geometry."""

    name: FormatName = "NRRD"
    suffixes: tuple[str, ...] = (".nrrd", ".nhdr")
    output_suffixes: tuple[str, ...] = (".nrrd",)
    stores_geometry = True

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read the header; voxels are read when they are needed."""
        return read_nrrd(path, name)

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that the format stores a dtype."""
        check_voxel_type(path, "NRRD", dtype)
        return ()

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write voxels with the geometry in the header of their scan."""
        write_nrrd(path, image.values(), image.geometry, image.origin)


NRRD = NrrdFormat()


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    name = str(header["type"]).lower()
    if name not in _TYPES:
        raise ScanError(
            f"voxels of type {name} are not CT values", where=path, hint="export the CT values"
        )
    dtype = np.dtype(_TYPES[name])
    if dtype.itemsize == 1:
        return dtype
    return dtype.newbyteorder(">" if str(header["endian"]).lower() == "big" else "<")


def _geometry(header: Any, shape: tuple[int, ...]) -> tuple[Geometry, tuple[Decision, ...]]:
    slices, rows, columns = shape
    units = {str(unit).strip('"') for unit in header.get("space units", [])} - {"", "mm"}
    if units:
        raise ScanError(
            f"the grid is in {', '.join(sorted(units))}, not in millimetres",
            where=None,
            hint="save it in millimetres",
        )
    first = 1 if _layers(header) else 0
    directions = header.get("space directions")
    if directions is not None:
        directions = directions[first:]
    to_lps = _TO_LPS.get(str(header.get("space", "")).lower())
    if directions is not None and to_lps is not None:
        steps = [np.asarray(step, np.float64) for step in directions][::-1]
        origin = np.asarray(header.get("space origin", np.zeros(3)), np.float64)
        check_lengths(*steps, origin)
        if len(steps) == 2:
            steps = [np.cross(steps[1], steps[0]) / np.linalg.norm(steps[0]), *steps]
        affine: NDArray[np.float64] = to_lps @ affine_from_axes(
            origin, (steps[-3], steps[-2], steps[-1])
        )
        return Geometry((slices, rows, columns), affine), ()
    spacing = [float(s) for s in header.get("spacings", [])[first:]][::-1]
    if directions is not None:
        spacing = [math.hypot(*map(float, step)) for step in directions][::-1]
    spacing_known = bool(spacing) and bool(np.isfinite(spacing).all())
    z, y, x = (1.0, 1.0, 1.0, *(spacing if spacing_known else ()))[-3:]
    affine = affine_from_axes((0, 0, 0), ((0, 0, z), (0, y, 0), (x, 0, 0)))
    decision = Decision(
        "orientation",
        "columns to the left, rows to the back, slices to the head",
        "the NRRD header defines no patient space; right and left may be swapped",
        warning=True,
    )
    grid = Geometry(
        (slices, rows, columns), affine, spacing_known=spacing_known, orientation_known=False
    )
    return grid, (decision,)
