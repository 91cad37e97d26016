"""Networks from other code."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


class CustomNetwork(SegmentationNetwork):
    """A copy of a module that maps images to logits.

    Parameters
    ----------
    module:
        Maps float32 images (n, inputs, rows, columns) to logits (n, outputs, rows, columns). Its
        current weights are the initial weights.
    outputs:
        Number of logits of a pixel: 1 for one class, else the number of classes with background.
    inputs:
        Number of channels of the images: 1, or with neighbouring slices their number.
    """

    margin: int = 0
    multiple: int = 1

    def __init__(self, module: nn.Module, outputs: int = 1, inputs: int = 1) -> None:
        super().__init__()
        self.outputs: int = outputs
        self.inputs: int = inputs
        self.module: nn.Module = copy.deepcopy(module)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, outputs, rows, columns) of images (n, inputs, rows, columns)."""
        logits: Tensor = self.module(images)
        return logits
