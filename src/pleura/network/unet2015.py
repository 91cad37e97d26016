"""The original U-Net, with unpadded convolutions.

As in figure 1 of the paper, no ReLU follows an up-convolution; the Caffe network that the authors
released has one.

References
----------
O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, LNCS 9351, pp. 234-241, doi 10.1007/978-3-319-24574-4_28.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Return two unpadded 3x3 convolutions, each with a ReLU; the output side is 4 pixels less."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3), nn.ReLU()
    )


def crop_centre(x: Tensor, like: Tensor) -> Tensor:
    """Return the centre of ``x`` of the height and width of ``like``."""
    (h, w), (rows, columns) = x.shape[2:], like.shape[2:]
    top, left = (h - rows) // 2, (w - columns) // 2
    return x[:, :, top : top + rows, left : left + columns]


class UNet2015(SegmentationNetwork):
    """U-Net from (n, inputs, h, w) images to logits of their centre.

    The logits have the shape (n, outputs, h - 2 margin, w - 2 margin).

    Parameters
    ----------
    channels:
        Channels of each level, from full resolution down, with a 2x2 max-pooling between levels.
    dropout:
        Probability of the dropout at the end of the contracting path (section 3.1): after the two
        deepest levels, as in the released network. The paper has no number; that network has 0.5.
    outputs:
        Number of logits of a pixel; 1 is the difference of the two maps of the paper.
    inputs:
        Number of channels of the images.

    Attributes
    ----------
    margin:
        Pixels by which the output is smaller on each side: 92 for four poolings.
    multiple:
        Each side less ``margin`` must be a multiple of this, so that every pooling has an even
        input: 16 for four poolings.
    """

    is_wide = True

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        dropout: float = 0.5,
        outputs: int = 1,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.outputs: int = outputs
        self.inputs: int = inputs
        up = channels[::-1]
        self.multiple: int = 1 << (len(channels) - 1)
        # Two convolutions remove two pixels of their level on each side, in the encoder and again
        # in the decoder: 4 (1 + 2 + ... + multiple / 2), and 2 multiple at the deepest level.
        self.margin: int = 6 * self.multiple - 4
        self.down: nn.ModuleList = nn.ModuleList(
            double_convolution(i, o) for i, o in pairwise((inputs, *channels))
        )
        self.dropout: nn.Dropout = nn.Dropout(dropout)
        self.up: nn.ModuleList = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(up)
        )
        self.merge: nn.ModuleList = nn.ModuleList(double_convolution(2 * o, o) for o in up[1:])
        self.head: nn.Conv2d = nn.Conv2d(channels[0], max(outputs, 2), 1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
                continue
            # Section 3: sqrt(2 / N), where N is the number of inputs of one neuron. A pixel after
            # an up-convolution has one input pixel per channel, not four.
            incoming = len(parameter) if name.startswith("up.") else parameter[0].numel()
            nn.init.normal_(parameter, std=math.sqrt(2 / incoming))

    def forward(self, x: Tensor) -> Tensor:  # shapes are for (n, inputs, 572, 572)
        """Compute logits; raise ValueError if a side of the images is not a valid size."""
        self._check_sides(x.shape[2:])
        skips = []
        for level, down in enumerate(self.down):
            if level > 0:
                x = F.max_pool2d(x, 2)  # (n, 64, 284, 284), 128 x 140, 256 x 68, 512 x 32
            x = down(x)  # (n, 64, 568, 568), 128 x 280, 256 x 136, 512 x 64, 1024 x 28
            if level >= len(self.down) - 2:
                x = self.dropout(x)
            skips.append(x)
        x = skips.pop()  # (n, 1024, 28, 28)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = up(x)  # (n, 512, 56, 56), 256 x 104, 128 x 200, 64 x 392
            x = torch.cat([crop_centre(skips.pop(), like=x), x], 1)  # twice the channels
            x = merge(x)  # (n, 512, 52, 52), 256 x 100, 128 x 196, 64 x 388
        logits: Tensor = self.head(x)  # two maps as in the paper, (n, 2, 388, 388)
        if self.outputs > 1:
            return logits
        # The softmax over two maps is the sigmoid of their difference.
        return logits[:, 1:] - logits[:, :1]  # (n, 1, 388, 388)

    def _check_sides(self, sides: Sequence[int]) -> None:
        for side in sides:
            output = side - 2 * self.margin
            fit = self.valid_size(max(output, 1))
            if side != fit:
                raise ValueError(
                    f"{side} pixels is not a valid input side of this network; "
                    f"the next larger valid side is {fit}"
                )
