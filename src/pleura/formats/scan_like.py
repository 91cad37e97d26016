"""Values that functions accept as a scan."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from pleura.formats.image_types import ImageSource
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.scan import Scan

ScanLike: TypeAlias = Scan | ImageSource
"""A `Scan`, a path that `read` accepts, an array, or an image of another library."""


def as_scan(value: ScanLike) -> Scan:
    """Return a scan of any value that `ScanLike` lists.

    Raises
    ------
    ScanError, DataError
        The value is not a scan, or its file cannot be read.
    """
    if isinstance(value, Scan):
        return value
    return from_array(value) if isinstance(value, np.ndarray) else read(value)
