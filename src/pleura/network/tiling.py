"""Inference on images of any size: whole, or in tiles for unpadded networks."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn


class SegmentationNetwork(nn.Module):
    """A network with the properties that inference on images of any size needs.

    It maps (n, inputs, h, w) images to the logits of their centre, (n, outputs, h - 2 margin,
    w - 2 margin). With one output, its sigmoid is the probability of lung; with several, their
    softmax are the probabilities of background and of each class. Each side less ``margin`` must be
    a multiple of ``multiple``.
    """

    margin: int
    """Pixels by which the output is smaller on each side; 0 for padded convolutions."""
    outputs: int = 1
    """Number of logits of a pixel."""
    overlap: bool = False
    """Whether classes may overlap: the sigmoid of each output is the probability of a class."""
    inputs: int = 1
    """Number of channels of the images: a slice, and with a context its neighbours."""
    multiple: int
    """Downsampling factor of the deepest level."""
    is_wide: bool = False
    """Whether convolutions at full resolution have many channels, 64 or more."""

    def valid_size(self, output: int) -> int:
        """Return the smallest input side whose output side is ``output`` pixels or more."""
        return self.margin + math.ceil((output + self.margin) / self.multiple) * self.multiple


def forward_whole(network: SegmentationNetwork, images: Tensor) -> Tensor:
    """Compute the logits of whole images in one differentiable pass.

    Images are padded by reflection to a valid size (Ronneberger 2015, figure 2): on all sides for
    an unpadded network, below and on the right for a padded one. An image of a valid size is not
    padded.

    Parameters
    ----------
    network:
        The network, in training or evaluation mode.
    images:
        float32 (n, inputs, h, w), any h and w from 1.

    Returns
    -------
    Tensor
        Logits (n, outputs, h, w).
    """
    h, w = images.shape[2:]
    size = network.valid_size(h), network.valid_size(w)
    if size != (h, w):
        images = _mirrored(images, (-network.margin, -network.margin), size)
    logits: Tensor = network(images)
    return logits[:, :, :h, :w]


def predict_whole(network: SegmentationNetwork, images: Tensor, tile: int = 388) -> Tensor:
    """Compute the logits of whole images without gradients, in bounded memory.

    An unpadded network processes an image larger than ``tile`` in overlapping tiles (Ronneberger
    2015, section 2), with the result of `forward_whole`: tiles start at multiples of
    ``network.multiple``, so that pooling combines the same pixels as in the whole image. A padded
    network processes the whole image, because its zero padding would change the tile borders.

    Parameters
    ----------
    network:
        The network, in evaluation mode unless dropout is intended.
    images:
        float32 (n, inputs, h, w), any h and w from 1.
    tile:
        Smallest side of the output of a tile in pixels; rounded up to a valid size.

    Returns
    -------
    Tensor
        Logits (n, outputs, h, w).
    """
    with torch.no_grad():
        if network.margin == 0:
            return forward_whole(network, images)
        h, w = images.shape[2:]
        rows, row_starts = _tiles(network, h, tile)
        columns, column_starts = _tiles(network, w, tile)
        logits = images.new_empty((len(images), network.outputs, h, w))
        for top, left in product(row_starts, column_starts):
            corner = top - network.margin, left - network.margin
            whole = logits[:, :, top:, left:]
            output = network(_mirrored(images, corner, (rows, columns)))
            fits = output[:, :, : whole.shape[2], : whole.shape[3]]
            whole[:, :, : fits.shape[2], : fits.shape[3]] = fits
        return logits


def _tiles(network: SegmentationNetwork, side: int, tile: int) -> tuple[int, range]:
    """Return the input side of the tiles, and the first pixel of the output of each tile."""
    size = network.valid_size(min(side, max(tile, network.multiple)))
    output = size - 2 * network.margin
    if side <= output:
        return size, range(1)
    step = output // network.multiple * network.multiple
    return size, range(0, side - output + step, step)


def _mirrored(images: Tensor, start: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Crop images that are extended by reflection, from (row, column) ``start``.

    Computed by index, because `torch.nn.functional.pad` cannot reflect by more than the side.
    """
    for axis, first, count in zip((2, 3), start, size, strict=True):
        last = images.shape[axis] - 1  # the border pixel is not repeated
        index = torch.arange(first, first + count, device=images.device)
        index = (index + last).remainder(max(2 * last, 1)).sub(last).abs()
        images = images.index_select(axis, index)
    return images
