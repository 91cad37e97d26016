"""Images of any size through a network: whole, or in tiles where it is unpadded."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn


class SegmentationNetwork(nn.Module):
    """A network and what it tells of itself so that it can be given images of any size.

    It maps (n, 1, h, w) images to the logits of their middle, (n, 1, h - 2 margin, w - 2 margin),
    for sides that are a multiple of ``multiple`` once ``margin`` is taken off.
    """

    margin: int
    """Pixels that the output lacks on each side; 0 where convolutions are padded."""
    multiple: int
    """The factor by which the network's coarsest level is coarser than the image."""

    def valid_size(self, output: int) -> int:
        """Return the smallest side of an input whose output has a side of ``output`` or more."""
        return self.margin + math.ceil((output + self.margin) / self.multiple) * self.multiple


def forward_whole(network: SegmentationNetwork, images: Tensor) -> Tensor:
    """Return the logits of whole images (n, 1, h, w), (n, 1, h, w), in one differentiable pass.

    What the network needs beyond the image's border is mirrored (Ronneberger 2015, figure 2):
    all around for an unpadded network, below and to the right for a padded one whose multiple
    does not fit. An image that fits goes in as it is.
    """
    h, w = images.shape[2:]
    size = network.valid_size(h), network.valid_size(w)
    if size != (h, w):
        images = _mirrored(images, (-network.margin, -network.margin), size)
    logits: Tensor = network(images)
    return logits[:, :, :h, :w]


def predict_whole(network: SegmentationNetwork, images: Tensor, tile: int = 388) -> Tensor:
    """Return the logits of whole images (n, 1, h, w), (n, 1, h, w), with no gradient.

    An unpadded network sees an image larger than ``tile`` in tiles (the overlap-tile strategy,
    Ronneberger 2015, section 2): memory is bounded by the tile, and the result is that of
    ``forward_whole``. For that, tiles start at multiples of the network's ``multiple``, or their
    poolings would pair other pixels than the whole image's; edge to edge, tiles of 388 do not.
    A padded network sees the image whole: its zero padding would show at every seam.

    Parameters
    ----------
    network:
        Taken as it is: put it in evaluation mode first, or its dropout is at work.
    images:
        (n, 1, h, w), any h and w from 1.
    tile:
        Side of a tile's output in pixels, at least; rounded up to what the network can give.
    """
    with torch.no_grad():
        if network.margin == 0:
            return forward_whole(network, images)
        h, w = images.shape[2:]
        rows, row_starts = _tiles(network, h, tile)
        columns, column_starts = _tiles(network, w, tile)
        logits = torch.empty_like(images)
        for top, left in product(row_starts, column_starts):
            corner = top - network.margin, left - network.margin
            whole = logits[:, :, top:, left:]
            output = network(_mirrored(images, corner, (rows, columns)))
            fits = output[:, :, : whole.shape[2], : whole.shape[3]]
            whole[:, :, : fits.shape[2], : fits.shape[3]] = fits
        return logits


def _tiles(network: SegmentationNetwork, side: int, tile: int) -> tuple[int, range]:
    """Return the side of a tile's input and where the tiles' outputs start."""
    size = network.valid_size(min(side, max(tile, network.multiple)))
    output = size - 2 * network.margin
    if side <= output:
        return size, range(1)
    step = output // network.multiple * network.multiple
    return size, range(0, side - output + step, step)


def _mirrored(images: Tensor, start: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Cut (rows, columns) of ``size`` from the endless plane of mirror images, from ``start``.

    By index: torch's own reflect padding ends where the margin reaches the image's side.
    """
    for axis, first, count in zip((2, 3), start, size, strict=True):
        last = images.shape[axis] - 1  # the mirror stands in the border pixel, none is doubled
        index = torch.arange(first, first + count, device=images.device)
        index = (index + last).remainder(max(2 * last, 1)).sub(last).abs()
        images = images.index_select(axis, index)
    return images
