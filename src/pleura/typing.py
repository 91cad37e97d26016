"""Types that signatures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

Progress = Callable[[int, int], None]
"""Called with the number of items that are done, and the number of all items."""
