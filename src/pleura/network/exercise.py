"""The U-Net of the course exercise: three levels, one convolution each, same padding.

It has 902,593 parameters with the 64, 128 and 256 channels of the exercise.

References
----------
Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, MICCAI 2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pleura.network.tiling import SegmentationNetwork


class UpConvolution(nn.Module):
    """Nearest 2x upsampling, then a 2x2 convolution padded below and right, then ReLU.

    Computed as one equivalent transposed convolution: an upsampled pixel and its copies overlap
    each 2x2 kernel at three offsets per axis, with the weights w1, w0 + w1 and w0. That is 9
    multiplications for 4 output pixels instead of 16, without an upsampled or padded copy.

    Parameters
    ----------
    inputs, outputs:
        Number of channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.empty(outputs, inputs, 2, 2))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:  # (n, inputs, h, w)
        w0, w1 = self.weight.unbind(2)
        rows = torch.stack([w1, w0 + w1, w0], 2)  # (outputs, inputs, 3, 2)
        w0, w1 = rows.unbind(3)
        kernel = torch.stack([w1, w0 + w1, w0], 3).transpose(0, 1)  # (inputs, outputs, 3, 3)
        x = F.conv_transpose2d(x, kernel, stride=2, padding=1, output_padding=1)
        # Added separately: oneDNN takes longer for the gradient of this bias than for the others.
        x += self.bias.to(x.dtype)[:, None, None]
        return F.relu(x, inplace=True)  # (n, outputs, 2h, 2w)


class Dropout(nn.Module):
    """Dropout from one random byte per value, in a fraction of the time of `torch.nn.Dropout`.

    Parameters
    ----------
    probability:
        Probability with which a value is dropped; rounded to a multiple of 1/256.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold: int = round(probability * 256)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        words.random_(-(1 << 63), None)
        random_bytes = words.view(torch.uint8)[: x.numel()]
        # In the memory format of x: otherwise the multiplication would transpose it.
        keep = random_bytes.as_strided(x.shape, x.stride()) >= self.threshold
        return x * keep.to(x.dtype).mul_(256 / (256 - self.threshold))


class ExerciseUNet(SegmentationNetwork):
    """U-Net from (n, inputs, h, w) images to (n, outputs, h, w) logits; h, w multiples of 4.

    Parameters
    ----------
    channels:
        Channels of the three levels, from full resolution down.
    dropout:
        Probability of the dropout before the last convolution.
    outputs:
        Number of logits of a pixel.
    inputs:
        Number of channels of the images.
    """

    margin = 0
    multiple = 4
    is_wide = True

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256),
        dropout: float = 0.5,
        outputs: int = 1,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.outputs: int = outputs
        self.inputs: int = inputs
        first, second, third = channels
        self.down1: nn.Conv2d = nn.Conv2d(inputs, first, 3, padding=1)
        self.down2: nn.Conv2d = nn.Conv2d(first, second, 3, padding=1)
        self.bottom: nn.Conv2d = nn.Conv2d(second, third, 3, padding=1)
        self.up2: UpConvolution = UpConvolution(third, second)
        self.merge2: nn.Conv2d = nn.Conv2d(2 * second, second, 3, padding=1)
        self.up1: UpConvolution = UpConvolution(second, first)
        self.merge1: nn.Conv2d = nn.Conv2d(2 * first, first, 3, padding=1)
        self.dropout: Dropout = Dropout(dropout)
        self.head: nn.Conv2d = nn.Conv2d(first, outputs, 1)
        # The defaults of Keras: Glorot uniform weights, zero biases.
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:  # (n, inputs, h, w)
        skip1 = F.relu(self.down1(x), inplace=True)  # (n, 64, h, w)
        skip2 = F.relu(self.down2(F.max_pool2d(skip1, 2)), inplace=True)  # (n, 128, h/2, w/2)
        x = F.relu(self.bottom(F.max_pool2d(skip2, 2)), inplace=True)  # (n, 256, h/4, w/4)
        x = torch.cat([skip2, self.up2(x)], 1)  # (n, 256, h/2, w/2)
        x = F.relu(self.merge2(x), inplace=True)  # (n, 128, h/2, w/2)
        x = torch.cat([skip1, self.up1(x)], 1)  # (n, 128, h, w)
        x = F.relu(self.merge1(x), inplace=True)  # (n, 64, h, w)
        logits: Tensor = self.head(self.dropout(x))  # (n, outputs, h, w)
        return logits
