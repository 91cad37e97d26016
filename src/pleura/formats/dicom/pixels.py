"""Pixel data of DICOM, each transfer syntax by one named decoder.

What a compressed frame says of its size is compared with the header before it is decoded. GDCM is
never used, even if it is installed: on damaged data it ends the process.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array

from pleura.errors import ScanError
from pleura.files.limits import check_claim
from pleura.formats.dicom import jpeg
from pleura.formats.dicom.frames import Frame

_NATIVE = {f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99", ".2")}
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70)}
_JPEG_LS = {f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)}
_JPEG_LS_FRAME = 0xF7
_RLE_RATIO = 64
"""Bytes that a byte can repeat: two bytes stand for at most 128 (PS3.5 annex G)."""
_MAX_TILES = 1 << 12


def read_stored_values(dataset: Any, frame: Frame) -> NDArray[Any]:
    """Return the stored values (rows, columns) of a frame.

    Raises
    ------
    ScanError, DataError
        There are none, their transfer syntax is not read, or they claim an absurd size.
    ValueError, OSError, RuntimeError
        They are damaged: decoders have errors of their own.
    """
    if "PixelData" not in dataset:
        raise ScanError(
            "the file holds no pixel data: it is cut off, or was never whole",
            where=frame.path,
            hint="copy or export it again; or move it away, and the gap is reported",
        )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    index = frame.index if frames > 1 else None
    claimed = frame.rows * frame.columns * max(int(dataset.BitsAllocated) // 8, 1)
    if syntax in _NATIVE:
        check_claim(claimed, len(dataset.PixelData), frame.path, ratio=1)
        return np.asarray(pixel_array(dataset, index=index, raw=True))
    encoded = get_frame(
        dataset.PixelData,
        frame.index,
        number_of_frames=frames,
        extended_offsets=_extended_offsets(dataset),
    )
    check_claim(claimed, len(encoded), frame.path)
    if syntax in _JPEG:
        header = jpeg.read_header(encoded)
        _check_size(header.rows, header.columns, frame)
        return _meant(jpeg.decode(encoded), dataset)
    if syntax in _JPEG_LS:
        header = jpeg.read_header(encoded)
        _check_size(header.rows, header.columns, frame)
        if header.process != _JPEG_LS_FRAME or header.components != 1:
            raise ValueError("no grey JPEG-LS frame")
        plugin = "pyjpegls"
    elif syntax in _JPEG_2000:
        _check_size(*_size_of_jpeg_2000(encoded), frame)
        plugin = "pylibjpeg"
    elif syntax == _RLE:
        check_claim(claimed, len(encoded), frame.path, ratio=_RLE_RATIO, small=0)
        plugin = "pydicom"
    else:
        raise ScanError(
            f"the transfer syntax {frame.transfer_syntax} is not read",
            where=frame.path,
            hint="export the series uncompressed",
        )
    return np.asarray(pixel_array(dataset, index=index, decoding_plugin=plugin, raw=True))


def _extended_offsets(dataset: Any) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset or "ExtendedOffsetTableLengths" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _check_size(rows: int, columns: int, frame: Frame) -> None:
    if (rows, columns) != (frame.rows, frame.columns):
        raise ScanError(
            f"the compressed slice has {rows}x{columns} pixels, its header says "
            f"{frame.rows}x{frame.columns}",
            where=frame.path,
            hint="copy or export it again",
        )


def _meant(values: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Return decoded values with sign and depth of the header (PS3.5 8.1.1), as pydicom does."""
    kind = "i" if dataset.PixelRepresentation else "u"
    unused = max(8 * values.itemsize - int(dataset.BitsStored), 0)
    return (values << unused).view(f"{kind}{values.itemsize}") >> unused


def _size_of_jpeg_2000(frame: bytes) -> tuple[int, int]:
    """Return rows and columns by the size segment of a codestream (ITU-T T.800, A.5.1)."""
    at = frame.find(b"\xff\x4f\xff\x51")
    fields = struct.unpack_from(">IIIIIIIIH", frame, at + 8) if at >= 0 else ()
    if not fields or min(fields[4:6]) == 0 or fields[8] != 1:
        raise ValueError("no grey JPEG 2000 frame")
    width, height, left, top, tile_width, tile_height, tiles_left, tiles_top = fields[:8]
    tiles = -(-(width - tiles_left) // tile_width) * -(-(height - tiles_top) // tile_height)
    if not 1 <= tiles <= _MAX_TILES:
        raise ValueError(f"{tiles} tiles in a JPEG 2000 frame")
    return height - top, width - left
