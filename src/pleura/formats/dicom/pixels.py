"""Pixel data of DICOM: one named decoder per transfer syntax.

The size in a compressed frame is compared with the header before the frame is decoded. GDCM is not
used, even if it is installed: it terminates the process on corrupt data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from pleura.errors import ScanError
from pleura.files.limits import check_claimed_size
from pleura.formats.dicom import jpeg

NATIVE = {f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99", ".2")}
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70)}
_JPEG_LS = {f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)}
_JPEG_LS_MARKER = 0xF7
_MAX_RLE_RATIO = 64
"""Two bytes of RLE encode at most 128 (PS3.5 annex G)."""
_MAX_TILES = 1 << 12


def read_stored_values(dataset: Dataset, path: Path, index: int) -> NDArray[Any]:
    """Return the stored values (rows, columns) of a frame.

    Parameters
    ----------
    dataset, path:
        The object, and its file.
    index:
        Index of the frame, from 0.

    Raises
    ------
    ScanError, DataError
        There are none, their transfer syntax is not supported, or the size is not plausible.
    ValueError, OSError, RuntimeError
        They are corrupt: the errors of the decoders differ.
    """
    if "PixelData" not in dataset:
        raise ScanError(
            "the file has no pixel data: it is truncated or incomplete",
            where=path,
            hint="copy or export the file again, or remove it; the gap is then reported",
        )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    frame_index = index if frames > 1 else None
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    claimed = rows * columns * max(int(dataset.BitsAllocated) // 8, 1)
    if syntax in NATIVE:
        check_claimed_size(claimed, len(dataset.PixelData), path, ratio=1)
        return np.asarray(pixel_array(dataset, index=frame_index, raw=True))
    encoded = get_frame(
        dataset.PixelData,
        index,
        number_of_frames=frames,
        extended_offsets=_extended_offsets(dataset),
    )
    check_claimed_size(claimed, len(encoded), path)
    if syntax in _JPEG:
        header = jpeg.read_header(encoded)
        _check_size((header.rows, header.columns), (rows, columns), path)
        return _apply_pixel_representation(jpeg.decode(encoded), dataset)
    if syntax in _JPEG_LS:
        header = jpeg.read_header(encoded)
        _check_size((header.rows, header.columns), (rows, columns), path)
        if header.process != _JPEG_LS_MARKER or header.components != 1:
            raise ValueError("not a JPEG-LS frame with one component")
        plugin = "pyjpegls"
    elif syntax in _JPEG_2000:
        _check_size(_jpeg_2000_size(encoded), (rows, columns), path)
        plugin = "pylibjpeg"
    elif syntax == _RLE:
        check_claimed_size(claimed, len(encoded), path, ratio=_MAX_RLE_RATIO, min_limit=0)
        plugin = "pydicom"
    else:
        raise ScanError(
            f"the transfer syntax {dataset.file_meta.TransferSyntaxUID.name} is not supported",
            where=path,
            hint="export the series uncompressed",
        )
    return np.asarray(pixel_array(dataset, index=frame_index, decoding_plugin=plugin, raw=True))


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset or "ExtendedOffsetTableLengths" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _check_size(encoded: tuple[int, int], header: tuple[int, int], path: Path) -> None:
    if encoded != header:
        sizes = ["x".join(map(str, size)) for size in (encoded, header)]
        raise ScanError(
            f"the compressed slice has {sizes[0]} pixels, but its header states {sizes[1]}",
            where=path,
            hint="copy or export the file again",
        )


def _apply_pixel_representation(values: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Return decoded values with the sign and bit depth of the header (PS3.5 8.1.1)."""
    kind = "i" if dataset.PixelRepresentation else "u"
    unused = max(8 * values.itemsize - int(dataset.BitsStored), 0)
    return (values << unused).view(f"{kind}{values.itemsize}") >> unused


def _jpeg_2000_size(frame: bytes) -> tuple[int, int]:
    """Return rows and columns in the image size segment of a codestream (ITU-T T.800, A.5.1)."""
    at = frame.find(b"\xff\x4f\xff\x51")
    fields = struct.unpack_from(">IIIIIIIIH", frame, at + 8) if at >= 0 else ()
    if not fields or min(fields[4:6]) == 0 or fields[8] != 1:
        raise ValueError("not a JPEG 2000 frame with one component")
    width, height, left, top, tile_width, tile_height, tiles_left, tiles_top = fields[:8]
    tiles = -(-(width - tiles_left) // tile_width) * -(-(height - tiles_top) // tile_height)
    if not 1 <= tiles <= _MAX_TILES:
        raise ValueError(f"{tiles} tiles in a JPEG 2000 frame")
    return height - top, width - left
