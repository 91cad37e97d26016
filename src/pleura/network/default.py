"""The default U-Net: same padding and batch normalisation, with any number of levels.

It has few channels at full resolution, where each channel takes the most time.

References
----------
Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, MICCAI 2015.
Ioffe and Szegedy, Batch normalization, ICML 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


class ConvBlock(nn.Sequential):
    """Repeated 3x3 convolution, batch normalisation and ReLU.

    Parameters
    ----------
    inputs, outputs:
        Number of channels.
    convs:
        Number of convolutions.
    separable:
        Use depthwise separable convolutions.
    full_first:
        Use a full convolution as the first one, for images of few channels.

    References
    ----------
    Howard et al., MobileNets: efficient convolutional neural networks for mobile vision
    applications, 2017.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        convs: int = 2,
        separable: bool = False,
        full_first: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for i, channels in enumerate((inputs, *[outputs] * (convs - 1))):
            if separable and channels > 1 and not (full_first and i == 0):
                layers += [
                    nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                    nn.Conv2d(channels, outputs, 1, bias=False),
                ]
            else:
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class DefaultUNet(SegmentationNetwork):
    """U-Net from (n, inputs, h, w) images to (n, outputs, h, w) logits.

    Rows and columns are multiples of ``multiple``.

    Parameters
    ----------
    channels:
        Channels of each level, from full resolution down.
    dropout:
        Probability with which a channel of the deepest level is dropped.
    full_resolution_convs:
        Number of convolutions at full resolution, in the encoder and in the decoder each.
    separable:
        Use depthwise separable convolutions.
    outputs:
        Number of logits of a pixel.
    inputs:
        Number of channels of the images.
    """

    margin = 0

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.1,
        full_resolution_convs: int = 2,
        separable: bool = False,
        outputs: int = 1,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.outputs: int = outputs
        self.inputs: int = inputs
        self.multiple: int = 2 ** (len(channels) - 1)
        convs = [full_resolution_convs] + [2] * (len(channels) - 1)
        levels = zip([inputs, *channels[:-1]], channels, convs, strict=True)
        self.down: nn.ModuleList = nn.ModuleList(
            ConvBlock(i, o, n, separable, full_first=level == 0)
            for level, (i, o, n) in enumerate(levels)
        )
        self.dropout: nn.Dropout2d = nn.Dropout2d(dropout)
        above = list(pairwise(channels))[::-1]  # (outputs, inputs)
        self.upsample: nn.ModuleList = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 2, stride=2) for o, i in above
        )
        self.up: nn.ModuleList = nn.ModuleList(
            ConvBlock(2 * o, o, n, separable)
            for (o, _), n in zip(above, convs[-2::-1], strict=True)
        )
        self.head: nn.Conv2d = nn.Conv2d(channels[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:  # (n, inputs, h, w)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)  # (n, channels[i], h / 2^i, w / 2^i)
            skips.append(x)
        x = self.dropout(skips.pop())
        for upsample, block in zip(self.upsample, self.up, strict=True):
            x = block(torch.cat([skips.pop(), upsample(x)], 1))  # one level up
        logits: Tensor = self.head(x)  # (n, outputs, h, w)
        return logits
