"""The layers that all decoders are made of.

By default they are normalised by groups (GroupNorm, arXiv 1803.08494): dense batches are small, which makes batch
statistics noisy. `model.norm=batch` takes BatchNorm instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8

Norm = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""


def group_norm(channels: int) -> nn.GroupNorm:
    """A GroupNorm of 8 groups, or of as many as also divide `channels`."""
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


NORMS: dict[str, Norm] = {"group": group_norm, "batch": nn.BatchNorm2d}
"""The normalisations of a decoder by the names that `model.norm` has for them."""


class ConvNormAct(nn.Sequential):
    """Convolution without bias, normalisation, ReLU; the map keeps its size, divided by the stride (rounded up).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: Makes the normalisation.
        kernel: Side of the kernel; odd.
        stride: Of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            norm(outputs),
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
