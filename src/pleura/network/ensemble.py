"""An ensemble of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork, forward_whole

_LOGIT_EPSILON = 1e-6
"""Limits the mean probability to [epsilon, 1 - epsilon], so that its logit is finite."""


class Ensemble(SegmentationNetwork):
    """Networks on one grid; its logits are those of their mean probability.

    Parameters
    ----------
    members:
        The networks, with their weights.
    """

    margin: int = 0
    multiple: int = 1

    def __init__(self, members: Sequence[SegmentationNetwork]) -> None:
        super().__init__()
        self.members: nn.ModuleList = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 1, h, w) of images (n, 1, h, w)."""
        members = cast(Sequence[SegmentationNetwork], self.members)
        probabilities = [torch.sigmoid(forward_whole(member, images).float()) for member in members]
        return torch.stack(probabilities).mean(0).logit(_LOGIT_EPSILON)
