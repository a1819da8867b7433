"""Labelled images that are drawn when asked for, and how often they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segtune.core.records import IGNORE, LabelledImage


class Drawn:
    """Images of noise with labels that their colours tell, reproducible by index; every read is counted."""

    name = "drawn"
    classes = ("background", "red", "green")

    def __init__(self, count: int, size: tuple[int, int] = (36, 48), *, drawn: bool = False) -> None:
        self.count, self.size, self.drawn, self.reads = count, size, drawn, 0

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        self.reads += 1
        rng = np.random.default_rng([index, epoch if self.drawn else 0])
        height, width = self.size[0] + index, self.size[1]
        labels = np.zeros((height, width), np.uint8)
        labels[4:-4, 4 : width // 3] = 1
        labels[8:, -width // 3 :] = 2
        labels[:2] = IGNORE
        image = rng.integers(0, 40, (height, width, 3)).astype(np.uint8)
        image[labels == 1, 0] += 200
        image[labels == 2, 1] += 200
        return LabelledImage(f"i{index}", image, labels)

    def item_id(self, index: int) -> str:
        return f"i{index}"


class Given:
    """Labels that a test writes down; the images are grey."""

    name = "given"

    def __init__(self, labels: Sequence[object], classes: tuple[str, ...] = ("background", "a", "b")) -> None:
        self.labels, self.classes = [np.asarray(each, np.uint8) for each in labels], classes

    def __len__(self) -> int:
        return len(self.labels)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        labels = self.labels[index]
        return LabelledImage(self.item_id(index), np.full((*labels.shape, 3), 99, np.uint8), labels)

    def item_id(self, index: int) -> str:
        return f"i{index}"
