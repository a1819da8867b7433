"""How often each class occurs, and what follows from it: weights for a loss, and an order that shows rare classes more.

Sampling is repeat factor sampling of LVIS (Gupta et al., 2019, section 5.3) with every epoch as long as the data: a
class that a share f of the images holds has the factor sqrt(1 / f), at most `MOST`; an image has the largest factor of
its classes, and comes in proportion to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtune.core.errors import DataError
from segtune.core.records import IGNORE, DenseSource
from segtune.core.rng import generator

MOST = 10.0
"""The largest factor: one odd image in ten thousand shall not fill an epoch."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """What a source holds of each class.

    Attributes:
        classes: The names.
        per_image: int64 `[n, C]`, pixels of each class in each image.
        ignored: Pixels that count neither for nor against, over all images.
    """

    classes: tuple[str, ...]
    per_image: np.ndarray
    ignored: int

    @property
    def pixels(self) -> np.ndarray:
        """int64 `[C]`, pixels of each class."""
        return self.per_image.sum(axis=0)

    @property
    def images(self) -> np.ndarray:
        """int64 `[C]`, images that hold a pixel of each class."""
        return (self.per_image > 0).sum(axis=0)

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without a pixel."""
        return tuple(name for name, count in zip(self.classes, self.pixels.tolist(), strict=True) if not count)

    def to_dict(self) -> dict[str, Any]:
        """For `data.json`."""
        return {
            "images": len(self.per_image),
            "classes": {
                name: {"pixels": pixels, "images": images}
                for name, pixels, images in zip(self.classes, self.pixels.tolist(), self.images.tolist(), strict=True)
            },
            "ignored_pixels": self.ignored,
        }

    def table(self, weights: np.ndarray | None = None) -> str:
        """A table for people: pixels, their share of those that count, images and, where given, weights."""
        pixels, images = self.pixels.tolist(), self.images.tolist()
        total = sum(pixels) or 1
        rows = [("class", "pixels", "share", "images")]
        rows += [
            (name, f"{n:,}", f"{n / total:.2%}", str(i))
            for name, n, i in zip(self.classes, pixels, images, strict=True)
        ]
        rows.append(("(ignored)", f"{self.ignored:,}", "", ""))
        if weights is not None:
            last = ("weight", *(f"{weight:.3g}" for weight in weights), "")
            rows = [(*row, cell) for row, cell in zip(rows, last, strict=True)]  # type: ignore[misc]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
            ).rstrip()
            for row in rows
        )


class Counter:
    """Counts labels image by image.

    Args:
        classes: The names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._rows: list[np.ndarray] = []
        self._ignored = 0

    def add(self, labels: np.ndarray) -> None:
        """Counts one image.

        Args:
            labels: uint8 `[h, w]`.

        Raises:
            DataError: A label is neither a class nor `IGNORE`.
        """
        counts = np.bincount(labels.ravel(), minlength=256)
        beyond = np.flatnonzero(counts[len(self.classes) : IGNORE])
        if len(beyond):
            raise DataError(
                "a label is no class", expected=f"0 to {len(self.classes) - 1} and {IGNORE}",
                found=str(int(beyond[0]) + len(self.classes)),
            )  # fmt: skip
        self._rows.append(counts[: len(self.classes)])
        self._ignored += int(counts[IGNORE])

    def counts(self) -> ClassCounts:
        """What has been counted so far."""
        empty = np.zeros((0, len(self.classes)), np.int64)
        return ClassCounts(self.classes, np.array(self._rows, np.int64) if self._rows else empty, self._ignored)


def count_classes(source: DenseSource, limit: int | None = None) -> ClassCounts:
    """Counts the pixels of every class by reading every image once.

    Args:
        source: Labelled images; of a drawn one, epoch 0.
        limit: Only the first so many images.

    Raises:
        DataError: An image cannot be read.
    """
    counter = Counter(source.classes)
    for index in range(len(source) if limit is None else min(limit, len(source))):
        counter.add(source.item(index).labels)
    return counter.counts()


def class_weights(counts: ClassCounts, weight_range: tuple[float, float], *, background: bool) -> np.ndarray:
    """Weights by inverse frequency, rescaled linearly to a range.

    The frequency of a class is its share of the pixels that count. 1 / frequency is mapped linearly so that the
    commonest class has the lower end of the range and the rarest the upper; classes that are all equally common (or a
    single one) have the lower end.

    Args:
        counts: Of the training data.
        weight_range: (low, high).
        background: Whether class 0 is the background: it has weight 1 and takes no part in the rescaling.

    Returns:
        float32 `[C]`.

    Raises:
        DataError: A class that takes part has no pixel.
    """
    first = int(background)
    pixels = counts.pixels.astype(np.float64)
    if absent := [name for name in counts.classes[first:] if name in counts.absent]:
        raise DataError(
            "a class without a pixel has no weight", where="data.class_weights",
            expected="pixels of every class in the training data", found="none of " + ", ".join(absent),
            fix=f"data.exclude=[{', '.join(absent)}], or data.class_weights=none",
        )  # fmt: skip
    rarity = pixels.sum() / pixels[first:]
    low, high = weight_range
    span = float(np.ptp(rarity))
    scaled = (rarity - rarity.min()) / span if span else np.zeros_like(rarity)
    return np.concatenate([np.ones(first), low + scaled * (high - low)]).astype(np.float32)


def repeat_factors(counts: ClassCounts) -> np.ndarray:
    """How often each image should come, relative to one that holds only what every image holds.

    Returns:
        float64 `[n]`, 1 to `MOST`; images without any pixel that counts have 1.
    """
    shares = counts.images / max(len(counts.per_image), 1)
    factors = np.minimum(np.sqrt(1 / np.maximum(shares, 1e-12)), MOST)
    return np.where(counts.per_image > 0, factors, 1.0).max(axis=1, initial=1.0)


def balanced_order(counts: ClassCounts, seed: int, epoch: int) -> list[int]:
    """The order of an epoch in which images that hold rare classes come more often.

    As many images as there are are drawn by systematic sampling: an image that should come r times comes floor(r) or
    ceil(r) times, and over the epochs r times on average.

    Args:
        counts: Of the training data; row i is image i.
        seed: Of the run.
        epoch: From 0.

    Returns:
        As many indices as there are images, which (seed, epoch) decide.
    """
    rng = generator(seed, "balance", epoch)
    factors = repeat_factors(counts)
    mixed = rng.permutation(len(factors))
    edges = np.cumsum(factors[mixed])
    ticks = (np.arange(len(factors)) + rng.random()) * (math.fsum(factors) / max(len(factors), 1))
    places = np.minimum(np.searchsorted(edges, ticks, side="right"), len(factors) - 1)
    return rng.permutation(mixed[places]).tolist()
