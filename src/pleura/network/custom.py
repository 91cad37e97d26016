"""Networks from other code."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


class CustomNetwork(SegmentationNetwork):
    """A copy of a module that maps images to logits of the same shape.

    Parameters
    ----------
    module:
        Maps float32 images (n, 1, rows, columns) to logits of the same shape. Its current weights
        are the initial weights.
    """

    margin: int = 0
    multiple: int = 1

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: nn.Module = copy.deepcopy(module)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 1, rows, columns) of images (n, 1, rows, columns)."""
        logits: Tensor = self.module(images)
        return logits
