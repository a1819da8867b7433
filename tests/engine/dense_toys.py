"""Dense models whose answers a test can compute by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from segtune.core.types import DenseOutput
from segtune.data.dense.transforms import DenseTransform

CLASSES = ("background", "red", "green")
SIZE = (24, 32)
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
WEIGHTS = np.array([[-3.0, -2.0, 0.5], [4.0, -1.0, 0.0], [-1.0, 3.0, 1.0]], np.float32)
"""From a pixel in 0..1 to the logits of three classes."""

BINARY = np.array([2.0, -3.0, 0.5], np.float32)
Change = Callable[[torch.Tensor], torch.Tensor]


def transform(size: tuple[int, int] = SIZE) -> DenseTransform:
    return DenseTransform(size, MEAN, STD)


class Toy(nn.Module):
    """Logits that are linear in each pixel, at a stride; `change` may spoil them by place."""

    def __init__(self, *, stride: int = 1, multiclass: bool = True, binary: bool = True, change: Change | None = None):
        super().__init__()
        self.classes, self.binary_classes = CLASSES, ("red",) if binary else ()
        self.sided_classes: tuple[str, ...] = ()
        self.binary_indices = (1,) if binary else ()
        self.class_head = nn.Conv2d(3, 3, 1, bias=False) if multiclass else None
        self.binary_head = nn.Conv2d(3, 1, 1, bias=False) if binary else None
        if self.class_head is not None:
            self.class_head.weight.data[:] = torch.from_numpy(WEIGHTS)[:, :, None, None]
        if self.binary_head is not None:
            self.binary_head.weight.data[:] = torch.from_numpy(BINARY)[None, :, None, None]
        self.stride, self.change = stride, change
        self.calls: list[tuple[int, ...]] = []

    def fitting_size(self, size: tuple[float, float]) -> tuple[int, int]:
        return max(8, 8 * round(size[0] / 8)), max(8, 8 * round(size[1] / 8))

    def decode(self, pixels: torch.Tensor) -> DenseOutput:
        self.calls.append(tuple(pixels.shape))
        assert not self.training
        low = F.avg_pool2d(pixels, self.stride) if self.stride > 1 else pixels
        low = low if self.change is None else self.change(low)
        return DenseOutput(
            classes=None if self.class_head is None else self.class_head(low),
            binary=None if self.binary_head is None else self.binary_head(low)[:, 0],
        )


def image(size: tuple[int, int] = (36, 50), seed: int = 0) -> np.ndarray:
    """Smooth colours, uint8 `[h, w, 3]`."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 6)))
    smooth = F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 255)
    return smooth.permute(1, 2, 0).round().numpy().astype(np.uint8)


def upsampled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation `[..., h, w]` to `[..., *size]`, written down anew, in double precision."""

    def weights(old: int, new: int) -> np.ndarray:
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        matrix = np.zeros((new, old))
        for row, place in enumerate(places):
            low = int(np.floor(place))
            matrix[row, low] += 1 - (place - low)
            matrix[row, min(low + 1, old - 1)] += place - low
        return matrix

    rows, columns = weights(values.shape[-2], size[0]), weights(values.shape[-1], size[1])
    return rows @ values.astype(np.float64) @ columns.T


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=0))
    return powers / powers.sum(axis=0)
