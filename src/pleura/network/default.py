"""Our U-Net: normalised convolutions, as many levels as channels are given.

After Ronneberger, Fischer, Brox, "U-Net" (MICCAI 2015), with same padding, batch normalisation
(Ioffe, Szegedy 2015) in place of most of the dropout, and few channels at full resolution, where
they cost most.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


class Level(nn.Sequential):
    """Some times: 3x3 convolution, batch normalisation, ReLU.

    ``separable`` makes each convolution but that of the image itself one of every channel by
    itself, and a 1x1 that mixes them (Howard et al., "MobileNets", 2017).
    """

    def __init__(self, inputs: int, outputs: int, times: int = 2, separable: bool = False) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, *[outputs] * (times - 1)):
            if separable and channels > 1:
                layers += [
                    nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                    nn.Conv2d(channels, outputs, 1, bias=False),
                ]
            else:
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class DefaultUNet(SegmentationNetwork):
    """Lung logits of (n, 1, h, w) images, (n, 1, h, w); h and w are multiples of ``multiple``.

    ``full_resolution_convs`` is how many convolutions there are at full resolution, each way.
    """

    margin = 0

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.1,
        full_resolution_convs: int = 2,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.multiple: int = 2 ** (len(channels) - 1)
        times = [full_resolution_convs] + [2] * (len(channels) - 1)
        levels = zip([1, *channels[:-1]], channels, times, strict=True)
        self.down: nn.ModuleList = nn.ModuleList(Level(i, o, n, separable) for i, o, n in levels)
        self.dropout: nn.Dropout2d = nn.Dropout2d(dropout)
        above = list(pairwise(channels))[::-1]  # (outputs, inputs)
        self.enlarge: nn.ModuleList = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 2, stride=2) for o, i in above
        )
        self.up: nn.ModuleList = nn.ModuleList(
            Level(2 * o, o, n, separable) for (o, _), n in zip(above, times[-2::-1], strict=True)
        )
        self.head: nn.Conv2d = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (n, 1, h, w)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if i else x)  # (n, channels[i], h / 2^i, w / 2^i)
            skips.append(x)
        x = self.dropout(skips.pop())
        for enlarge, level in zip(self.enlarge, self.up, strict=True):
            x = level(torch.cat([skips.pop(), enlarge(x)], 1))  # one level up each time
        logits: Tensor = self.head(x)  # (n, 1, h, w)
        return logits
