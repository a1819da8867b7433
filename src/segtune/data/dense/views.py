"""Sources of labelled images made of other sources: some of the items, without some classes, smaller, remembered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE, DenseSource, LabelledImage

Box = tuple[float, float, float, float]
"""A part of an image: (top, left, bottom, right) in original pixels, fractions allowed."""


class DenseSubset:
    """A source of which only some images are used.

    Args:
        source: The whole.
        indices: Which images, in which order.
    """

    def __init__(self, source: DenseSource, indices: Sequence[int]) -> None:
        self.source, self.indices = source, tuple(indices)
        self.name, self.classes, self.drawn = source.name, source.classes, is_drawn(source)

    def __len__(self) -> int:
        """Number of images used."""
        return len(self.indices)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image at `index` of those used."""
        return self.source.item(self.indices[index], epoch)

    def item_id(self, index: int) -> str:
        """The id of that image."""
        return self.source.item_id(self.indices[index])


class WithoutClasses:
    """A source with some classes taken out: their pixels are ignored, and the labels of the others move up.

    Args:
        source: The whole.
        names: The classes to take out.

    Raises:
        ConfigError: A name is no class of the source, or fewer than two classes are left.
    """

    def __init__(self, source: DenseSource, names: Sequence[str]) -> None:
        self.source, self.name, self.drawn = source, source.name, is_drawn(source)
        if unknown := [name for name in names if name not in source.classes]:
            raise ConfigError(
                "there is no such class to exclude", where="data.exclude",
                expected="names of " + ", ".join(source.classes), found=", ".join(unknown),
            )  # fmt: skip
        self.classes = tuple(name for name in source.classes if name not in names)
        if len(self.classes) < 2:
            raise ConfigError(
                "too many classes are excluded", where="data.exclude", expected="two classes left at least",
                found=", ".join(self.classes) or "none",
            )  # fmt: skip
        self._table = np.full(256, IGNORE, np.uint8)
        for label, name in enumerate(self.classes):
            self._table[source.classes.index(name)] = label

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image at `index` with the labels of the classes that are left."""
        found = self.source.item(index, epoch)
        return replace(found, labels=self._table[found.labels])

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it."""
        return self.source.item_id(index)


class Reduced:
    """A source whose images are shrunk to what a model can make use of, both sides by the same factor.

    Small images stay as they are. Whether an image is then kept in memory or read again changes nothing.

    Args:
        source: The whole.
        size: (h, w) below which neither side goes: model pixels times the largest zoom.
    """

    def __init__(self, source: DenseSource, size: tuple[float, float]) -> None:
        self.source, self.size = source, size
        self.name, self.classes, self.drawn = source.name, source.classes, is_drawn(source)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image at `index`, shrunk: pixels by their mean (antialiased bilinear), labels by the nearest."""
        found = self.source.item(index, epoch)
        height, width = found.labels.shape
        factor = max(self.size[0] / height, self.size[1] / width)
        if factor >= 1:
            return found
        size = (math.ceil(height * factor), math.ceil(width * factor))
        return replace(found, image=resize_image(found.image, size), labels=resize_labels(found.labels, size))

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it."""
        return self.source.item_id(index)


class Remembered:
    """A source that keeps in memory what it has yielded, as long as there is room.

    What is kept stays, for an epoch asks for every image once and throwing out the oldest would keep none. Kept arrays
    are read-only, so that nobody changes what comes next time.

    Args:
        source: Images that do not depend on the epoch.
        max_bytes: Room for pixels and labels.
    """

    def __init__(self, source: DenseSource, max_bytes: int) -> None:
        self.source, self.max_bytes, self.kept_bytes = source, max_bytes, 0
        self.name, self.classes, self.drawn = source.name, source.classes, False
        self._kept: dict[int, LabelledImage] = {}
        self._full = False

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image at `index`, from memory where it is there."""
        found = self._kept.get(index)
        if found is not None:
            return found
        found = self.source.item(index, epoch)
        needed = found.image.nbytes + found.labels.nbytes
        if self.kept_bytes + needed <= self.max_bytes:
            self._kept[index] = replace(found, image=_frozen(found.image), labels=_frozen(found.labels))
            self.kept_bytes += needed
            return self._kept[index]
        self._full = True
        return found

    def item_id(self, index: int) -> str:
        """The id of the image at `index`, without reading it."""
        return self.source.item_id(index)

    def fill(self) -> None:
        """Reads what there is room for, before worker processes start: they would each remember for themselves."""
        for index in range(len(self.source)):
            if self._full:
                return
            self.item(index)


def texts_of_classes(source: DenseSource) -> dict[str, tuple[str, ...]]:
    """The texts and words that mean each class of a source, by its name, where it is made from questions."""
    whole: object = source
    while not hasattr(whole, "said") and hasattr(whole, "source"):
        whole = whole.source
    said: dict[str, tuple[str, ...]] = getattr(whole, "said", {})
    return {name: texts for name, texts in said.items() if name in source.classes}


def is_drawn(source: DenseSource) -> bool:
    """Whether a source draws its images afresh each epoch."""
    return bool(getattr(source, "drawn", False))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image, bilinear and antialiased.

    Args:
        image: uint8 `[h, w, 3]`.
        size: The wanted (h, w).

    Returns:
        uint8 `[*size, 3]`.
    """
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_part(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Resizes a part of an image, bilinear and antialiased; what lies around it blends in as if all were resized.

    Args:
        image: uint8 `[h, w, 3]`.
        box: The part, in original pixels, inside the image.
        size: The wanted (h, w).

    Returns:
        uint8 `[*size, 3]`: that part of the image resized by the same factors, up to rounding.
    """
    starts, cuts = [], []
    for low, high, wanted, side in zip(box[:2], box[2:], size, image.shape[:2], strict=True):
        reach = max(1.0, (high - low) / wanted) + 1
        starts.append(max(0, math.floor(low - reach)))
        cuts.append(slice(starts[-1], min(side, math.ceil(high + reach))))
    part = image[cuts[0], cuts[1]]
    (top, left), (height, width) = starts, part.shape[:2]
    inner = (box[1] - left, box[0] - top, min(box[3] - left, width), min(box[2] - top, height))
    resized = Image.fromarray(part).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=inner)
    return np.asarray(resized)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes labels: every pixel takes the label at its centre.

    Args:
        labels: uint8 `[h, w]`.
        size: The wanted (h, w).

    Returns:
        uint8 `[*size]`, writable and never the given array.
    """
    rows, columns = (
        ((np.arange(n) + 0.5) * (old / n)).astype(np.intp) for n, old in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only array of its own memory (a view of a larger one would keep that alive)."""
    kept = np.array(array) if array.base is not None else array
    kept.flags.writeable = False
    return kept
