"""Decoder of JPEG frames in DICOM: Pillow for 8 and 12 bits, this module for lossless JPEG.

No permissively licensed package of a few megabytes decodes 12 bits or the lossless process, and
the large ones abort the Python process on corrupt data. Pillow's libtiff decodes 12-bit JPEG inside
TIFF, so such a frame is wrapped in a TIFF. The lossless process is Huffman decoding and a running
sum.

References
----------
ITU-T T.81 (JPEG), annexes B and H; ITU-T T.87 (JPEG-LS); TIFF 6.0.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start of frame: all processes of T.81, and JPEG-LS (T.87)."""
_LOSSLESS = 0xC3
_DHT, _EOI, _SOS, _DRI = 0xC4, 0xD9, 0xDA, 0xDD
_STANDALONE = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))
_INVALID = 255


@dataclass
class Header:
    """Marker segments before the entropy-coded data of the first scan (T.81, annex B).

    Attributes
    ----------
    process:
        The start-of-frame marker.
    precision:
        Bits per sample.
    rows, columns, components:
        Size of the frame.
    restart_interval:
        Samples between restart markers; 0 without restarts.
    predictor, point_transform, table:
        Parameters of the first scan.
    tables:
        Huffman tables by their number: 16 counts of codes, then the symbols.
    data_start:
        Offset of the entropy-coded data in the frame.
    """

    process: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: int = 0
    restart_interval: int = 0
    predictor: int = 0
    point_transform: int = 0
    table: int = 0
    tables: dict[int, bytes] = field(default_factory=dict)
    data_start: int = 0


def read_header(frame: bytes) -> Header:
    """Read the segments of a JPEG or JPEG-LS frame up to its first scan.

    Raises
    ------
    ValueError
        It is not such a frame, or it is truncated.
    """
    header, at = Header(), 0
    if frame[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG frame")
    while at + 4 <= len(frame):
        if frame[at] != 0xFF:
            raise ValueError("corrupt JPEG header")
        marker = frame[at + 1]
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        segment = frame[at + 4 : at + 2 + length]
        at += 2 + length
        if marker in _SOF:
            header.process = marker
            header.precision, header.rows, header.columns, header.components = struct.unpack_from(
                ">BHHB", segment
            )
        elif marker == _DHT:
            _add_tables(header.tables, segment)
        elif marker == _DRI:
            (header.restart_interval,) = struct.unpack(">H", segment)
        elif marker == _SOS:
            header.table, header.predictor = segment[2] >> 4, segment[3]
            header.point_transform = segment[-1]
            header.data_start = at
            break
    if not header.process or not header.data_start:
        raise ValueError("the JPEG frame is truncated")
    return header


def decode(frame: bytes) -> NDArray[Any]:
    """Return the stored values (rows, columns) of a frame with one component: uint8 or uint16.

    Raises
    ------
    ValueError, OSError
        The frame is corrupt, in colour, or of a process that is not supported.
    """
    header = read_header(frame)
    if header.components != 1:
        raise ValueError(f"{header.components} colour components")
    if header.process == _LOSSLESS:
        return _decode_lossless(frame, header)
    if header.process not in (0xC0, 0xC1, 0xC2) or header.precision not in (8, 12):
        raise ValueError(f"JPEG process {header.process:#x} of {header.precision} bits")
    content = frame if header.precision == 8 else _as_tiff(frame, header)
    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "I;16"):
            raise ValueError(f"pixels of type {image.mode}")
        return np.asarray(image)


def _as_tiff(frame: bytes, header: Header) -> bytes:
    """Wrap a frame in a TIFF of one strip (TIFF 6.0; compression 7 is JPEG)."""
    padded = frame + b"\0" * (len(frame) % 2)
    long, short = 4, 3
    tags = (
        (256, long, header.columns),
        (257, long, header.rows),
        (258, short, header.precision),
        (259, short, 7),
        (262, short, 1),
        (273, long, 8),
        (277, short, 1),
        (278, long, header.rows),
        (279, long, len(frame)),
    )
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = struct.pack("<4sI", b"II*\0", 8 + len(padded))
    return start + padded + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def _decode_lossless(frame: bytes, header: Header) -> NDArray[np.uint16]:
    """Decode process 14 (T.81 annex H): Huffman-coded differences to a predicted value."""
    rows, columns = header.rows, header.columns
    if header.table not in header.tables or not 1 <= header.predictor <= 7:
        raise ValueError("no Huffman table or predictor for the lossless scan")
    if not 2 <= header.precision <= 16 or header.point_transform >= header.precision:
        raise ValueError(f"{header.precision} bits in a lossless frame")
    if header.restart_interval % max(columns, 1):
        raise ValueError("a restart interval that is not a multiple of the row length")
    lengths, sizes = _build_lookup(header.tables[header.table])
    interval = header.restart_interval // columns or rows
    values = np.empty((rows, columns), np.uint16)
    first = 1 << (header.precision - header.point_transform - 1)
    segments = _split_at_restarts(frame[header.data_start :])
    for row in range(0, rows, interval):
        n = min(interval, rows - row)
        differences = _decode_differences(next(segments, b""), n * columns, lengths, sizes)
        values[row : row + n] = _add_predictions(
            differences.reshape(n, columns), header.predictor, first
        )
    return values << np.uint16(header.point_transform)


def _split_at_restarts(data: bytes) -> Iterator[bytes]:
    """Yield the entropy-coded data between restart markers, without stuffed bytes (B.1.1.5)."""
    at = start = 0
    while True:
        at = data.find(b"\xff", at)
        marker = data[at + 1] if 0 <= at < len(data) - 1 else _EOI
        if marker in (0, 0xFF):
            at += 2 - (marker == 0xFF)
            continue
        end = len(data) if at < 0 else at
        yield data[start:end].replace(b"\xff\0", b"\xff")
        if not 0xD0 <= marker <= 0xD7:
            return
        start = at = end + 2


def _add_tables(tables: dict[int, bytes], segment: bytes) -> None:
    """Add the Huffman tables of a segment (B.2.4.2)."""
    while len(segment) > 17:
        size = 17 + sum(segment[1:17])
        if segment[0] < 16:  # class 0: DC and lossless
            tables[segment[0]] = segment[1:size]
        segment = segment[size:]


def _build_lookup(table: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return code length and size of the difference for each sequence of 16 bits."""
    lengths = np.zeros(1 << 16, np.uint8)
    sizes = np.full(1 << 16, _INVALID, np.uint8)
    code, symbols = 0, iter(table[16:])
    for length, count in enumerate(table[:16], 1):
        for _ in range(count):
            symbol = next(symbols, _INVALID)
            begin, end = code << (16 - length), (code + 1) << (16 - length)
            if symbol > 16 or end > 1 << 16:
                raise ValueError("corrupt Huffman table")
            lengths[begin:end], sizes[begin:end] = length, symbol
            code += 1
        code <<= 1
    return lengths, sizes


def _decode_differences(
    data: bytes, n: int, lengths: NDArray[np.uint8], sizes: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Decode ``n`` differences (H.1.2.2).

    The position of a code depends on all codes before it. The distance from every bit to the next
    code is looked up at once; only the sum of these distances is computed code by code.
    """
    if n > 8 * len(data):
        raise ValueError("the JPEG data are truncated")
    extra = np.where(sizes == 16, 0, sizes)  # size 16 has one difference, 32768
    distance = np.where(sizes == _INVALID, 0, lengths + extra).astype(np.uint8)
    content = np.frombuffer(data + b"\0" * 8, np.uint8)
    wide: NDArray[Any] = content.astype(np.uint32)
    wide = wide[:-2] << 16 | wide[1:-1] << 8 | wide[2:]
    distances = np.empty((len(wide), 8), np.uint8)
    for bit in range(8):
        distances[:, bit] = distance[(wide >> (8 - bit)).astype(np.uint16)]
    steps, positions, at = distances.tobytes(), [0] * n, 0
    try:
        for i in range(n):
            positions[i] = at
            at += steps[at]
    except IndexError as error:
        raise ValueError("the JPEG data are truncated") from error
    if at > 8 * len(data):
        raise ValueError("the JPEG data are truncated")
    bits = np.array(positions)
    words = np.lib.stride_tricks.sliding_window_view(content, 8)[bits >> 3].view(">u8")[:, 0]
    words = words.astype(np.uint64) << (bits & 7).astype(np.uint64)
    code = (words >> np.uint64(48)).astype(np.uint16)
    size = sizes[code].astype(np.uint64)
    if (size == _INVALID).any():
        raise ValueError("corrupt JPEG data")
    value = (words << lengths[code].astype(np.uint64)) >> np.uint64(1) >> (np.uint64(63) - size)
    signed, size = value.astype(np.int64), size.astype(np.int64)
    negative = signed < (1 << size >> 1)
    return np.where(size == 16, 32768, np.where(negative, signed - (1 << size) + 1, signed))


def _add_predictions(
    differences: NDArray[np.int64], predictor: int, first: int
) -> NDArray[np.uint16]:
    """Add differences to the values that their neighbours predict, modulo 2^16 (table H.1)."""
    differences[0, 0] += first
    if predictor == 1:
        differences[:, 0] = np.cumsum(differences[:, 0])
        return np.cumsum(differences, axis=1).astype(np.uint16)
    values = np.empty(differences.shape, np.int64)
    values[0] = np.cumsum(differences[0]) & 0xFFFF
    for row in range(1, len(values)):
        above = values[row - 1]
        values[row] = _add_predictions_to_row(differences[row], above, predictor) & 0xFFFF
    return values.astype(np.uint16)


def _add_predictions_to_row(
    difference: NDArray[np.int64], above: NDArray[np.int64], predictor: int
) -> NDArray[np.int64]:
    row = difference.copy()
    row[0] += above[0]
    if predictor == 2:
        row[1:] += above[1:]
    elif predictor == 3:
        row[1:] += above[:-1]
    elif predictor in (4, 5):
        row[1:] += (above[1:] - above[:-1]) >> (predictor - 4)
        row = np.cumsum(row)
    else:
        left = int(row[0]) & 0xFFFF
        corner = int(above[0])
        rest = zip(difference[1:].tolist(), above[1:].tolist(), strict=True)
        for column, (step, up) in enumerate(rest, 1):
            predicted = up + ((left - corner) >> 1) if predictor == 6 else (left + up) >> 1
            left = (predicted + step) & 0xFFFF
            row[column], corner = left, up
    return row
