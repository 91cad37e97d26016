"""Architectures in PyTorch, no I/O: each file is one network, read top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pleura.network.default import DefaultUNet
from pleura.network.exercise import ExerciseUNet
from pleura.network.tiling import SegmentationNetwork
from pleura.network.unet2015 import UNet2015

ARCHITECTURES: dict[str, Callable[[Sequence[int], float], SegmentationNetwork]] = {
    "exercise": ExerciseUNet,
    "unet2015": UNet2015,
    "default": DefaultUNet,
}
"""A network of (filters of each level, dropout) by the name that recipes use."""
