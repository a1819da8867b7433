"""Joint augmentation of an image and its targets, in original pixels.

Everything is drawn from a generator that the caller derives from (seed, epoch, index): the same sample comes out
whichever worker draws it and in whichever order.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from segtune.core.log import get_logger
from segtune.core.records import IGNORE, Group, Query, Source
from segtune.data.config import AugmentConfig
from segtune.data.lengths import queries_of
from segtune.ops.sides import says_side

_log = get_logger(__name__)


def augment(group: Group, config: AugmentConfig, rng: np.random.Generator) -> Group:
    """Draws one variant of a group.

    Args:
        group: Image and examples in original pixels.
        config: What may happen.
        rng: Where the chances come from; every switch draws in the same order, used or not. Scale draws from a child of
            it, so that nothing that is drawn afterwards depends on that switch either.

    Returns:
        A new group; the given one is left as it was.
    """
    flip, crop, color = rng.random() < config.flip, rng.random(4), rng.uniform(-1, 1, 3)
    if flip and _may_be_mirrored(group, config):
        group = _map(group, lambda array: np.ascontiguousarray(array[:, ::-1]))
    if config.scale:
        group = _scale(group, config.scale, rng.spawn(1)[0].random(3))
    if config.crop:
        group = _crop(group, config.crop, crop)
    if config.color:
        group = replace(group, image=_color(group.image, 1 + color * config.color))
    return group


def _may_be_mirrored(group: Group, config: AugmentConfig) -> bool:
    """Whether everything that is said about an image is as true of its mirror image."""
    if config.mirror != "auto":
        return config.mirror == "always"
    return not any(_says_side(example.query) for example in group.examples)


def _says_side(query: Query) -> bool:
    return says_side(query.text) or says_side(query.explanation)


def tell_unmirrored(source: Source, config: AugmentConfig) -> None:
    """Says how many pictures of a source are passed over where mirror images are asked for; none is not worth a word.

    Args:
        source: Groups; one that draws its texts is passed over, for nobody knows them before.
        config: What may happen.
    """
    if not config.flip or config.mirror != "auto":
        return
    sides: dict[str, bool] = {}
    for item_id, query in queries_of(source):
        record = item_id.rpartition("#")[0]
        sides[record] = sides.get(record, False) or _says_side(query)
    if passed := sum(sides.values()):
        tell = _log.warning if passed == len(sides) else _log.info
        tell(
            "data.augment.flip passes over %d of %d pictures of %s: texts or explanations of theirs say a side "
            "(data.augment.mirror=always mirrors all the same)",
            passed,
            len(sides),
            source.name,
        )


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


def _scale(group: Group, most: float, chance: np.ndarray) -> Group:
    """Looks at the image through a window of its own shape, smaller or larger than it is.

    The model sees every image in a square of one size, so things in it grow as the window shrinks; nothing is resampled
    here. A small window grows until it holds every target whole. Around an image in a large one lies its mean colour,
    ignored in the targets, as the padding of the square is.
    """
    factor = (1 + most) ** (2 * chance[0] - 1)
    height, width = group.image.shape[:2]
    rows, columns = _extent(group, 0), _extent(group, 1)
    factor = min(factor, height / max(rows[1] - rows[0], 1), width / max(columns[1] - columns[0], 1))
    window = (max(1, math.ceil(height / factor)), max(1, math.ceil(width / factor)))
    top = _place(height, window[0], rows, chance[1])
    left = _place(width, window[1], columns, chance[2])
    mean = group.image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)

    def seen(array: np.ndarray) -> np.ndarray:
        """What the window shows of `[h, w]` or `[h, w, 3]`."""
        canvas = np.empty((*window, *array.shape[2:]), array.dtype)
        canvas[:] = mean if array.ndim == 3 else IGNORE
        inside, outside = zip(
            *(_overlap(*axis) for axis in ((top, window[0], height), (left, window[1], width))), strict=True
        )
        canvas[inside] = array[outside]
        return canvas

    return _map(group, seen)


def _extent(group: Group, axis: int) -> tuple[int, int]:
    """From the first to behind the last row (or column) that holds a target pixel; `(0, 0)` where there is none."""
    found = [np.flatnonzero((example.target == 1).any(axis=1 - axis)) for example in group.examples]
    held = np.concatenate(found) if found else np.zeros(0, int)
    return (int(held.min()), int(held.max()) + 1) if len(held) else (0, 0)


def _place(size: int, window: int, held: tuple[int, int], chance: float) -> int:
    """Where the window begins along an axis: anywhere that it holds what it must and as much image as it can."""
    first, last = sorted((0, size - window))
    if held[1]:
        first, last = max(first, held[1] - window), min(last, held[0])
    return first + int((last - first + 1) * chance)


def _overlap(start: int, window: int, size: int) -> tuple[slice, slice]:
    """Where window and image meet along an axis: in the window, and in the image."""
    low, high = max(start, 0), min(start + window, size)
    return slice(low - start, high - start), slice(low, high)


def _color(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    brightness, contrast, saturation = factors.astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = pixels.mean()
    pixels = (pixels - mean) * contrast + mean
    grey = pixels.mean(axis=-1, keepdims=True)
    return np.clip((pixels - grey) * saturation + grey, 0, 255).astype(np.uint8)
