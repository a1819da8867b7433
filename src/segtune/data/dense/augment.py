"""Joint augmentation of an image and its labels, by one affine map and one change of colours.

Everything is drawn from a generator that the caller derives from (seed, epoch, index): the same sample comes out
whichever worker draws it and in whichever order. Nothing is enlarged here; the transform brings what the drawn window
shows to model pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np

from segtune.core.records import IGNORE, LabelledImage
from segtune.data.dense.config import DenseAugmentConfig
from segtune.ops.sides import ClassMirror


def augment_labelled(
    item: LabelledImage, config: DenseAugmentConfig, rng: np.random.Generator, mirror: ClassMirror | None = None
) -> LabelledImage:
    """Draws one variant of an image.

    A window, 1 / zoom as large as the image and of its shape but for `stretch`, is laid on it at a place that is drawn
    (over the whole of it where it is the larger one), turned, and perhaps mirrored. Outside the image lies its mean
    colour, ignored in the labels.

    Args:
        item: Image and labels.
        config: What may happen.
        rng: Where the chances come from; every switch draws in the same order, used or not, so that none of them
            moves another.
        mirror: What becomes of the classes in a mirror image; None: every label stays what it is.

    Returns:
        A new item in the pixels of the given one, as large as the window; the given one is left as it was.
    """
    mirrored = rng.random(2) < (config.flip, config.flip_vertical)
    shape, place, color = rng.random(2), rng.random(2), rng.uniform(-1, 1, 3)
    angle = float(rng.uniform(-1, 1)) * config.rotate
    height, width = item.labels.shape
    low, high = config.zoom
    zoom, stretch = low * (high / low) ** shape[0], (1 + config.stretch) ** (shape[1] - 0.5)
    window = (max(1, round(height / zoom / stretch)), max(1, round(width / zoom * stretch)))
    image, labels = item.image, item.labels
    if angle or window != (height, width):
        corner = [
            _corner(size, part, chance) for size, part, chance in zip((height, width), window, place, strict=True)
        ]
        image, labels = _look(image, labels, window, (corner[0], corner[1]), angle)
    refused = (False, False) if mirror is None else (bool(mirror.across), bool(mirror.over))
    for axis in (1, 0):
        if mirrored[1 - axis] and not refused[1 - axis] and config.mirror != "never":
            image, labels = np.flip(image, axis), np.flip(labels, axis)
            if axis == 1 and mirror is not None and mirror.swaps:
                labels = _swapped(labels, mirror.order)
    if config.color:
        image = _recolor(np.ascontiguousarray(image), 1 + color * config.color)
    return replace(item, image=np.ascontiguousarray(image), labels=np.ascontiguousarray(labels))


def _swapped(labels: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Labels in which classes that differ by a side have changed places; ignored pixels stay so."""
    table = np.arange(256, dtype=np.uint8)
    table[: len(order)] = order
    return table[labels]


def _corner(size: int, window: int, chance: float) -> int:
    """Where the window begins along an axis: anywhere that it holds as much image as it can."""
    first, last = sorted((0, size - window))
    return first + int((last - first + 1) * chance)


def _look(
    image: np.ndarray, labels: np.ndarray, window: tuple[int, int], corner: tuple[int, int], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a window (h, w) shows whose corner (y, x) lies there and which is turned about its middle by degrees.

    Without a turn the pixels are those of the image, moved by whole numbers.
    """
    (rows, columns), (top, left) = window, corner
    if not angle and top >= 0 and left >= 0 and top + rows <= labels.shape[0] and left + columns <= labels.shape[1]:
        part = (slice(top, top + rows), slice(left, left + columns))
        return image[part], labels[part]
    middle = ((window[1] - 1) / 2, (window[0] - 1) / 2)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # from a pixel of the window (x, y) to one of the image
    into = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    into[:, 2] = np.add(middle, (corner[1], corner[0])) - into[:, :2] @ middle
    size, border = (window[1], window[0]), cv2.BORDER_CONSTANT
    mean = [round(value) for value in cv2.mean(image)[:3]]
    seen = cv2.warpAffine(image, into, size, None, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, border, mean)
    named = cv2.warpAffine(labels, into, size, None, cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, border, (IGNORE,))
    return seen, named


def _recolor(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Changes brightness, then contrast about the mean, then saturation: together one affine map of the colours."""
    brightness, contrast, saturation = factors.tolist()
    mean = float(np.mean(cv2.mean(image)[:3])) * brightness
    grey = np.full((3, 3), (1 - saturation) / 3)
    turned = (np.eye(3) * saturation + grey) * contrast * brightness
    return cv2.transform(image, np.column_stack([turned, np.full(3, (1 - contrast) * mean)]))
