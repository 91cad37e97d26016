"""The intensity units of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.units import estimate_units


def pair_units(pairs: Sequence[Pair], most: int = 40) -> UnitsEstimate:
    """Estimate the units of images from some of them, spread over all; no mask is read."""
    step = max(1, len(pairs) // most)
    reader = PairReader()
    images = (replace(pair, no_lung=True) for pair in pairs[::step])
    return estimate_units(reader.read(pair)[0] for pair in images)
