"""Grey values from 0 to 255: the input of models for images without HU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITE = 255
"""The largest grey value; the smallest is 0."""


def grey_range(minimum: float, maximum: float) -> tuple[float, float]:
    """Return the stored values of grey 0 and 255, from the range of the values of an image or set.

    They are 0 and 255 for 8-bit values, 0 and 1 or -1 and 1 for values within, and else the minimum
    and the maximum.
    """
    if minimum >= 0 and maximum <= WHITE:
        return 0.0, float(WHITE) if maximum > 1 else 1.0
    if minimum >= -1 and maximum <= 1:
        return -1.0, 1.0
    return minimum, maximum


def to_grey(values: NDArray[Any], low: float, high: float) -> NDArray[np.int16]:
    """Map values linearly to grey values, rounded and clipped to 0 to 255.

    Parameters
    ----------
    values:
        Stored values or HU.
    low, high:
        The values of grey 0 and 255. ``low`` is above ``high`` for an inverted image.
    """
    if values.dtype == np.uint8 and (low, high) == (0, WHITE):
        return values.astype(np.int16)
    grey = (values.astype(np.float64) - low) * (WHITE / (high - low))
    return np.asarray(np.clip(np.rint(grey), 0, WHITE), np.int16)
