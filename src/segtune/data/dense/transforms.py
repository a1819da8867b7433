"""From a labelled image to the tensors of one model: the whole of it, resized to one size without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segtune.core.errors import DataError
from segtune.core.records import LabelledImage
from segtune.core.types import DenseBatch
from segtune.data.dense.views import Box, resize_image, resize_labels, resize_part


@dataclass(frozen=True, slots=True, eq=False)
class DenseSample:
    """One image, ready to be collated.

    Attributes:
        pixels: float32 `[3, h, w]`, model pixels.
        labels: uint8 `[h, w]`, model pixels.
        item: What they were made of.
    """

    pixels: Tensor
    labels: Tensor
    item: LabelledImage


class DenseTransform:
    """Turns labelled images into samples for one model.

    Args:
        size: (h, w) of the model, in model pixels.
        mean: Per-channel mean, RGB, of values in [0, 1].
        std: Per-channel standard deviation.
    """

    def __init__(self, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        self.size = size
        self._scale = (1 / (255 * np.asarray(std, np.float64))).astype(np.float32)
        self._shift = (-np.asarray(mean, np.float64) / np.asarray(std, np.float64)).astype(np.float32)

    def pixels(self, image: np.ndarray, *, size: tuple[int, int] | None = None, box: Box | None = None) -> Tensor:
        """Resizes (bilinear, antialiased) and normalises an image or a part of it.

        Args:
            image: uint8 `[h, w, 3]`, RGB, original pixels.
            size: (h, w) wanted, in model pixels; the model's own if None.
            box: The part, (top, left, bottom, right) in original pixels; the whole if None.

        Returns:
            float32 `[3, *size]`: (value / 255 - mean) / std.
        """
        size = self.size if size is None else size
        resized = resize_image(image, size) if box is None else resize_part(image, box, size)
        values = resized.astype(np.float32) * self._scale + self._shift
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def __call__(self, item: LabelledImage) -> DenseSample:
        """Prepares one image.

        Raises:
            DataError: The labels are no uint8 array of the image's size.
        """
        if item.labels.dtype != np.uint8 or item.labels.shape != item.image.shape[:2]:
            raise DataError(
                "the labels do not fit their image", where=item.id,
                expected="uint8 of {} x {} pixels".format(*item.image.shape[:2]),
                found=f"{item.labels.dtype} of {' x '.join(map(str, item.labels.shape))}",
            )  # fmt: skip
        labels = torch.from_numpy(resize_labels(item.labels, self.size))
        return DenseSample(self.pixels(item.image), labels, item)


def collate_dense(samples: Sequence[DenseSample]) -> DenseBatch:
    """Joins samples of one size into a batch."""
    return DenseBatch(
        pixels=torch.stack([sample.pixels for sample in samples]),
        labels=torch.stack([sample.labels for sample in samples]),
        items=tuple(sample.item for sample in samples),
    )
