"""Joint augmentation of an image and its targets, in original pixels.

Everything is drawn from a generator that the caller derives from (seed, epoch, index): the same sample comes out
whichever worker draws it and in whichever order.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from segtune.core.records import Group
from segtune.data.config import AugmentConfig

_SIDED = re.compile(r"\b(left|right|(north|south)?(west|east)|(anti|counter)?clockwise)", re.IGNORECASE)


def augment(group: Group, config: AugmentConfig, rng: np.random.Generator) -> Group:
    """Draws one variant of a group.

    Args:
        group: Image and examples in original pixels.
        config: What may happen.
        rng: Where the chances come from; every switch draws in the same order, used or not.

    Returns:
        A new group; the given one is left as it was.
    """
    flip, crop, color = rng.random() < config.flip, rng.random(4), rng.uniform(-1, 1, 3)
    said = [text for e in group.examples for text in (e.query.text, e.query.explanation)]
    if flip and not any(_SIDED.search(text) for text in said):
        group = _map(group, lambda array: np.ascontiguousarray(array[:, ::-1]))
    if config.crop:
        group = _crop(group, config.crop, crop)
    if config.color:
        group = replace(group, image=_color(group.image, 1 + color * config.color))
    return group


def _map(group: Group, change: object) -> Group:
    examples = tuple(replace(e, target=change(e.target)) for e in group.examples)  # type: ignore[operator]
    return replace(group, image=change(group.image), examples=examples)  # type: ignore[operator]


def _crop(group: Group, share: float, chance: np.ndarray) -> Group:
    """Cuts a rectangle, unless a target that was there would lose more than half of itself."""
    height, width = group.image.shape[:2]
    rows, columns = max(1, int(height * (1 - share * chance[0]))), max(1, int(width * (1 - share * chance[1])))
    top, left = int((height - rows) * chance[2]), int((width - columns) * chance[3])
    window = (slice(top, top + rows), slice(left, left + columns))
    for example in group.examples:
        wanted = example.target == 1
        if 2 * int(wanted[window].sum()) < int(wanted.sum()):
            return group
    return _map(group, lambda array: np.ascontiguousarray(array[window]))


def _color(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    brightness, contrast, saturation = factors.astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = pixels.mean()
    pixels = (pixels - mean) * contrast + mean
    grey = pixels.mean(axis=-1, keepdims=True)
    return np.clip((pixels - grey) * saturation + grey, 0, 255).astype(np.uint8)
