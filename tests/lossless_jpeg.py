"""An encoder of lossless JPEG (ITU-T T.81, process 14), the plain way, to test the decoder."""

from __future__ import annotations

import struct

import numpy as np

SIZES = 17
"""Sizes of differences, 0 to 16; all codes have five bits here."""


def encode_lossless(values: np.ndarray, predictor: int = 1, precision: int = 16) -> bytes:
    """Return a grey frame of uint16 (rows, columns)."""
    rows, columns = values.shape
    table = bytes([0, 0, 0, 0, SIZES, *[0] * 11, *range(SIZES)])
    header = struct.pack(">BHHB", precision, rows, columns, 1) + b"\x01\x11\x00"
    scan = struct.pack("BBBBBB", 1, 1, 0, predictor, 0, 0)
    segments = ((0xC3, header), (0xC4, b"\0" + table), (0xDA, scan))
    parts = [b"\xff" + bytes([m]) + struct.pack(">H", len(s) + 2) + s for m, s in segments]
    bits = "".join(_code(int(d)) for d in _differences(values, predictor, precision).ravel())
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + b"".join(parts) + data + b"\xff\xd9"


def _differences(values: np.ndarray, predictor: int, precision: int) -> np.ndarray:
    x = values.astype(np.int64)
    left, above = np.roll(x, 1, 1), np.roll(x, 1, 0)
    corner = np.roll(left, 1, 0)
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]
    predicted[:, 0] = above[:, 0]
    predicted[0] = left[0]
    predicted[0, 0] = 1 << (precision - 1)
    return (x - predicted + 32767) % 65536 - 32767


def _code(difference: int) -> str:
    size = abs(difference).bit_length()
    extra = difference if difference > 0 else difference + (1 << size) - 1
    bits = f"{extra:0{size}b}" if 0 < size < 16 else ""
    return f"{size:05b}" + bits
