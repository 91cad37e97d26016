"""The labels of an image as one mask each, to draw their contours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pleura.typing import AnyArray, BoolArray


def label_layers(labels: AnyArray) -> Iterator[tuple[int, BoolArray]]:
    """Yield each label of an image but 0, with its pixels.

    The labels of a bit field (uint16, see `pleura.scan.bit_field`) are its bits, counted from 1.
    """
    if labels.dtype == np.uint16:
        layers = ((i + 1, (labels >> np.uint16(i)) & np.uint16(1) == 1) for i in range(16))
        yield from ((label, inside) for label, inside in layers if inside.any())
    else:
        yield from ((int(label), labels == label) for label in np.unique(labels) if label)
