"""The graph of an exported model: HU or grey values to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pleura.dataset.preprocessing import Preprocessing
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.network.ensemble import class_probabilities
from pleura.network.tiling import SegmentationNetwork, forward_whole


class InferenceModule(nn.Module):
    """`Predictor.probability` as one module, for slices of any size.

    It maps int16 HU or grey values (n, rows, columns) to uint8 (n, rows, columns): the probability
    of lung times 255. With several classes, it maps them to uint8 (n, classes, rows, columns): the
    probabilities of the classes without background. For a network with neighbouring slices, the
    input is (n, channels, rows, columns).

    Parameters
    ----------
    network:
        The network, or an ensemble.
    preprocessing:
        Size, scaling and interpolation of its images.
    mapping:
        Conversion from HU or grey values to the values of the training images.
    mirror:
        Average the probabilities of a slice and of its mirror image.
    mirrored:
        With several classes: the class of a pixel in a mirrored image, by its class; see
        `pleura.dataset.data_recipe.mirror_table`.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        preprocessing: Preprocessing,
        mapping: IntensityMapping = HU,
        *,
        mirror: bool = False,
        mirrored: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.mirrored: list[int] = list(mirrored)
        self.mapping = mapping
        self.mirror = mirror
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, values: Tensor) -> Tensor:  # (n[, channels], h, w)
        size, (h, w) = self.preprocessing.size, values.shape[-2:]
        stored = values.float()
        if (self.mapping.scale, self.mapping.offset) != (1, 0):
            stored = stored * self.mapping.scale + self.mapping.offset
        x = self._scale(stored)
        lanczos = self.preprocessing.image_interpolation == "lanczos"
        resample = lanczos_matrix if lanczos else area_matrix
        x = resample(size[0], h) @ x @ resample(size[1], w).T  # (n[, channels], rows, columns)
        if self.mirror:
            reverse = torch.arange(size[1] - 1, -1, -1)
            both = self._predict(torch.stack([x, x[..., reverse]]).flatten(0, 1))
            direct, mirrored = both.reshape(2, -1, *both.shape[1:])
            if self.mirrored:
                mirrored = mirrored[:, self.mirrored]
            prediction = (direct + mirrored[..., reverse]) / 2
        else:
            prediction = self._predict(x)
        if not self.network.overlap:  # the only class, or all but background
            prediction = prediction[:, 1:] if self.network.outputs > 1 else prediction[:, 0]
        # Nearest-neighbour interpolation of OpenCV uses the first pixel of a step, not its centre.
        centred = self.preprocessing.mask_interpolation != "nearest"
        back = [area_matrix(side, grid, centred) for side, grid in ((h, size[0]), (w, size[1]))]
        probability: Tensor = back[0] @ prediction @ back[1].T  # (n[, classes], h, w)
        # In bfloat16 the weights of a row may sum to more than 1, and 256 would wrap around to 0.
        return (probability * 255).round().clamp(0, 255).to(torch.uint8)

    def _predict(self, x: Tensor) -> Tensor:  # (n[, channels], rows, columns)
        images = x[:, None] if x.ndim == 3 else x
        logits = forward_whole(self.network, images).float()
        return class_probabilities(logits, self.network.overlap)

    def _scale(self, values: Tensor) -> Tensor:
        if self.preprocessing.scaling == "window":
            low, high = self.preprocessing.window
            return ((values - low) / (high - low)).clamp(0, 1)
        axes = tuple(range(1, values.ndim))  # a slice and its neighbours have one scale
        high_ = values.amax(axes, keepdim=True)
        step = min(abs(self.mapping.scale), 1)  # avoids the division by zero of constant slices
        if self.preprocessing.scaling == "max":
            return values / high_.clamp(min=step)
        low_ = values.amin(axes, keepdim=True)
        return (values - low_) / (high_ - low_).clamp(min=step)


def area_matrix(to: Any, size: Any, centred: bool = True) -> Tensor:
    """Return the matrix that resamples an axis of ``size`` pixels to ``to`` pixels.

    Downsampling computes the mean over the area, as INTER_AREA of OpenCV; upsampling interpolates
    linearly between pixel centres. Borders are repeated.

    Parameters
    ----------
    to, size:
        Number of output and of input pixels.
    centred:
        Align the edges of the images; False aligns the first pixels.

    Returns
    -------
    Tensor
        float32 (to, size): weights of the input pixels for each output pixel.
    """
    step = size / to
    shift = 0.5 if centred else 0.0
    middle = (torch.arange(to, dtype=torch.float32) + shift) * step + (0.5 - shift)
    half = torch.sym_max(step, 1.0) / 2  # type: ignore[no-untyped-call]
    pixel = torch.arange(size, dtype=torch.float32)
    right = torch.minimum(pixel + 1, middle[:, None] + half)
    left = torch.maximum(pixel, middle[:, None] - half)
    covered = (right - left).clamp(min=0)  # (to, size)
    return covered / covered.sum(1, keepdim=True)


def lanczos_matrix(to: Any, size: Any) -> Tensor:
    """Return the matrix (to, size) that resamples an axis as INTER_LANCZOS4 of OpenCV."""
    middle = (torch.arange(to, dtype=torch.float32) + 0.5) * (size / to) - 0.5
    offsets = torch.arange(-3, 5)
    first = middle.floor()
    away = middle[:, None] - (first[:, None] + offsets)  # (to, 8)
    weights = torch.sinc(away) * torch.sinc(away / 4)
    weights = weights / weights.sum(1, keepdim=True)
    index = (first[:, None].long() + offsets).clamp(0, size - 1)
    pixel = torch.arange(size)
    spread: Tensor = (index[:, :, None] == pixel) * weights[:, :, None]  # (to, 8, size)
    return spread.sum(1)
