"""Probabilities of logits, and an ensemble of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork, forward_whole

_LOGIT_EPSILON = 1e-6
"""Limits the mean probability to [epsilon, 1 - epsilon], so that its logit is finite."""


def class_probabilities(logits: Tensor, overlap: bool = False) -> Tensor:
    """Return probabilities (n, outputs, h, w) of logits: sigmoid of one, softmax of several.

    If classes may overlap, they are the sigmoid of each logit.
    """
    independent = overlap or logits.shape[1] == 1
    return torch.sigmoid(logits) if independent else torch.softmax(logits, 1)


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
        self.outputs: int = members[0].outputs
        self.overlap: bool = members[0].overlap
        self.inputs: int = members[0].inputs

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, outputs, h, w) of images (n, inputs, h, w)."""
        members = cast(Sequence[SegmentationNetwork], self.members)
        probabilities = [
            class_probabilities(forward_whole(member, images).float(), self.overlap)
            for member in members
        ]
        mean = torch.stack(probabilities).mean(0)
        if self.outputs > 1 and not self.overlap:  # the softmax of logarithms are the probabilities
            return mean.clamp(min=_LOGIT_EPSILON).log()
        return mean.logit(_LOGIT_EPSILON)
