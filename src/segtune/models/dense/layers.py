"""The layers that all decoders are made of.

They are normalised by groups (GroupNorm, arXiv 1803.08494), not by batch: dense batches are small, which makes batch
statistics noisy, and the running statistics of a BatchNorm are buffers that move in training mode even where nothing
trains.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8


def group_norm(channels: int) -> nn.GroupNorm:
    """A GroupNorm of 8 groups, or of as many as also divide `channels`."""
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, GroupNorm, ReLU; the map keeps its size, divided by the stride (rounded up).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel; odd.
        stride: Of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            group_norm(outputs),
            nn.ReLU(inplace=True),
        )


class Head(nn.Module):
    """Dropout of whole channels and a 1x1 convolution to logits.

    Args:
        inputs: Channels of the decoder's map.
        outputs: Number of logits at each place.
        dropout: Share of channels dropped in training.
    """

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.logits = nn.Conv2d(inputs, outputs, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Float `[B, C, h', w']` to float32 `[B, outputs, h', w']`, low-res."""
        return self.logits(self.dropout(features)).float()


def resized(features: Tensor, size: tuple[int, int]) -> Tensor:
    """A map `[B, C, h, w]` brought to `size` (height, width), bilinear with aligned corners of pixels."""
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
