"""Types that signatures share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
TargetArray = NDArray[Any]
"""Targets of a training: fractions of lung in [0, 1], float32; or class indices, uint8."""

StrPath: TypeAlias = str | os.PathLike[str]
"""A path: text, `pathlib.Path`, or another path-like object."""

Progress = Callable[[int, int], None]
"""Called with the number of items that are done, and the number of all items."""
