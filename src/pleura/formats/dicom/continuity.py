"""Comparison of pixels: whether slices of different parts were scanned in one breath-hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ScanError
from pleura.formats.dicom.frames import DecodeFrame, Frame
from pleura.typing import AnyArray

_MAX_RATIO, _MAX_RATIO_IF_TOUCHING = 0.75, 1.1
"""Difference between neighbours, relative to that between second neighbours. Chest CT of one
breath-hold has 0.53 to 0.71 at steps of 2.5 to 48 mm, also with noise of 100 HU; two interleaved
breath-holds have more, up to 2; noise alone has 1. Measured on seven whole chests."""

_MAX_PAIRS = 16
"""Pairs of neighbours that are compared."""


def are_continuous(
    frames: Sequence[Frame], parts: Sequence[int], decode: DecodeFrame, *, touching: bool
) -> bool:
    """Return whether neighbours of different parts are more similar than second neighbours.

    Of two interleaved volumes, second neighbours are more similar, since they belong to the same
    volume.

    Parameters
    ----------
    frames:
        Frames in the order of the slices.
    parts:
        The part that each frame belongs to.
    decode:
        Returns the HU of a frame.
    touching:
        Whether the slices are of one study, and as thick as their distance; less evidence is
        required then.
    """
    seams = [i for i in range(len(frames) - 1) if parts[i] != parts[i + 1]]
    chosen = sorted({seams[int(i)] for i in np.linspace(0, len(seams) - 1, _MAX_PAIRS)})
    try:
        thumbnails = {
            j: _thumbnail(decode(frames[j]))
            for i in chosen
            for j in range(i - 1, i + 3)
            if 0 <= j < len(frames)
        }
    except ScanError:
        return False

    def mean_difference(pairs: list[tuple[int, int]]) -> float:
        known = [(a, b) for a, b in pairs if a in thumbnails and b in thumbnails]
        return float(np.mean([np.abs(thumbnails[a] - thumbnails[b]).mean() for a, b in known]))

    neighbours = mean_difference([(i, i + 1) for i in chosen])
    second = mean_difference([pair for i in chosen for pair in ((i - 1, i + 1), (i, i + 2))])
    return neighbours <= (_MAX_RATIO_IF_TOUCHING if touching else _MAX_RATIO) * second


def _thumbnail(values: AnyArray) -> NDArray[np.float32]:
    """Return HU (rows, columns) averaged over blocks, at most 64 per side."""
    block = max(1, min(values.shape) // 32)
    rows, columns = (side // block for side in values.shape)
    cropped = np.clip(values[: rows * block, : columns * block], -1000, 400).astype(np.float32)
    averaged: NDArray[np.float32] = cropped.reshape(rows, block, columns, block).mean((1, 3))
    return averaged
