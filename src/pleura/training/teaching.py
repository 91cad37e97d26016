"""Networks that teach another: what they say of a batch, mixed into its masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pleura.dataset.preparation import FloatImage
from pleura.network.tiling import SegmentationNetwork
from pleura.training.compute import Compute
from pleura.training.run import Run, load_tensors
from pleura.training.state import build_network


class Teachers:
    """The networks of finished runs, one of which speaks in each step.

    A loss that is linear in the target, as cross-entropy is, has in the mean over steps the
    gradient of the mean of all teachers, at the cost of one.
    """

    def __init__(self, runs: Sequence[Run], weight: float, compute: Compute) -> None:
        self.weight = weight
        self.compute = compute
        self.networks = [compute.place(_network(run)) for run in runs]

    def targets(self, images: FloatImage, masks: FloatImage, step: int) -> FloatImage:
        """Return what a step is to learn: both (n, rows, columns), masks in [0, 1]."""
        teacher = self.networks[step % len(self.networks)]
        said = torch.sigmoid(self.compute.logits(teacher, images))[:, 0].cpu().numpy()
        return np.asarray(masks + self.weight * (said - masks), np.float32)


def _network(run: Run) -> SegmentationNetwork:
    network = build_network(run.recipe.network)
    network.load_state_dict(load_tensors(run.weights)["network"])
    return network.requires_grad_(False)
