"""Several networks as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork, forward_whole

_SUREST = 1e-6
"""A mean is at least this far from 0 and 1, where its logit is infinite."""


class Ensemble(SegmentationNetwork):
    """Networks of one grid, of which the mean probability counts; its logits are of that mean."""

    margin: int = 0
    multiple: int = 1

    def __init__(self, members: Sequence[SegmentationNetwork]) -> None:
        super().__init__()
        self.members: nn.ModuleList = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 1, h, w) of images (n, 1, h, w)."""
        members = cast(Sequence[SegmentationNetwork], self.members)
        said = [torch.sigmoid(forward_whole(one, images).float()) for one in members]
        return torch.stack(said).mean(0).logit(_SUREST)
