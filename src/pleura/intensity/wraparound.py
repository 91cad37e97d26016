"""Integers whose sign was lost, because signed values were read as unsigned ones or vice versa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD_LENGTHS = (12, 13, 14, 15, 16, 32)
"""Bits in which CT is stored."""

_MAX_SHIFT = 2048
"""Largest rescale intercept that may have been added to the wrapped values."""


@dataclass(frozen=True)
class Wraparound:
    """Integers stored modulo ``modulus``, whose smallest true value is ``minimum``."""

    minimum: int
    modulus: int

    def unwrap(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values with their sign restored, in the shape of the input."""
        exact = values.astype(np.float64)  # float32 cannot hold 32-bit integers
        return np.asarray((exact - self.minimum) % self.modulus + self.minimum)


def find_wraparound(image: NDArray[Any]) -> Wraparound | None:
    """Find integers of 12 to 16 or 32 bits that were read with the wrong sign.

    Their values lie at both ends of the range of the word, and next to none between. A rescale
    intercept may have shifted them by up to 2048.

    Parameters
    ----------
    image:
        One slice (rows, columns).

    Returns
    -------
    Wraparound or None
        None if the values do not have this distribution.
    """
    low, high = float(image.min()), float(image.max())
    for bits in _WORD_LENGTHS:
        modulus = 1 << bits
        for start in (0, -modulus // 2):
            shift = min(_MAX_SHIFT, modulus // 4)
            within = start - shift <= low and high <= start + modulus + shift
            if not within or low > start + modulus / 4 or high < start + 3 * modulus / 4:
                continue
            relative = (image.astype(np.float64) - start) / modulus
            bottom, top = float((relative < 0.25).mean()), float((relative >= 0.75).mean())
            if min(bottom, top) > 0.01 and bottom + top > 0.97:
                return Wraparound(start - modulus // 2 if start == 0 else 0, modulus)
    return None
