"""A scene: a cluttered background and four or five objects, some partly hidden, with their exact masks.

Layout comes first, on masks alone (cheap, so that bad places can be tried again), and drawing second. Scenes are
decided by their random generator and by nothing else; `scene_rng` makes one from integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segtune.data.sources.synthetic.objects import COLOURS, SHAPES, TEXTURES, Look, Sprite, draw_sprite

CANVASES = ((128, 128), (128, 112), (112, 128))
"""Heights and widths of scenes in pixels; the first is the usual one."""

MIN_VISIBLE_SHARE = 0.45
MIN_VISIBLE_AREA = 110
_MARGIN = 2  # pixels between an object and the border of the image


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One object of a scene.

    Attributes:
        shape: One of `objects.SHAPES`.
        colour: One of `objects.COLOURS`.
        texture: One of `objects.TEXTURES`.
        size: One of `objects.SIZES`.
        mask: bool `[h, w]`, the pixels where it shows, original pixels.
        full_mask: bool `[h, w]`, the same without the objects in front of it.
        centre: (x, y), the mean of its visible pixels.
        area: Number of visible pixels.
        full_area: Number of pixels of `full_mask`.
    """

    shape: str
    colour: str
    texture: str
    size: str
    mask: np.ndarray
    full_mask: np.ndarray
    centre: tuple[float, float]
    area: int
    full_area: int


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn image, uint8 `[h, w, 3]` RGB in original pixels, and its objects from back to front."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True)
class SceneQuery:
    """A text that picks one object of its scene, or in the curriculum of the tiny base several.

    Attributes:
        text: The words.
        is_sentence: True for a long one.
        kind: The kind of thought it needs.
        indices: The objects it picks, indices into `Scene.objects`.
    """

    text: str
    is_sentence: bool
    kind: str
    indices: tuple[int, ...]

    @property
    def index(self) -> int:
        """The object it picks; the first of them where it picks several."""
        return self.indices[0]


def scene_rng(seed: int, *key: int) -> np.random.Generator:
    """A generator decided by a seed and a key of non-negative integers, independent of every other key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def _pick(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    """`count` names: all different where there are enough, else drawn again."""
    order = [names[i] for i in rng.permutation(len(names))]
    return [order[i % len(order)] for i in range(count)]


def draw_looks(rng: np.random.Generator) -> list[Look]:
    """Chooses what a scene holds: 4 or 5 looks, no two of the same shape and colour, some sharing one of them.

    Most scenes have one pair of the same colour and one pair of the same shape (so that most attributes still pick
    one object and the pairs need a second one); the others draw from three or four of each.

    Args:
        rng: The source of chance.

    Returns:
        The looks, in random order.
    """
    count = int(rng.integers(4, 6))
    while True:
        if rng.random() < 0.75:
            shapes, colours = _pick(rng, SHAPES, count), _pick(rng, COLOURS, count)
            if rng.random() < 0.9:
                a, b = rng.permutation(count)[:2]
                colours[a] = colours[b]
            if rng.random() < 0.9:
                a, b = rng.permutation(count)[:2]
                shapes[a] = shapes[b]
        else:
            few_shapes, few_colours = rng.choice(SHAPES, 4, replace=False), rng.choice(COLOURS, 4, replace=False)
            shapes = [str(name) for name in rng.choice(few_shapes, count)]
            colours = [str(name) for name in rng.choice(few_colours, count)]
        if len(set(zip(shapes, colours, strict=True))) == count:
            break
    textures = [TEXTURES[i] for i in rng.choice(4, count, p=(0.4, 0.2, 0.2, 0.2))]
    if rng.random() < 0.25:  # a scene whose objects share a texture, all but one
        textures = [textures[0]] * count
        textures[int(rng.integers(count))] = TEXTURES[int(rng.integers(4))]
    sizes = _draw_sizes(count, rng)
    return [Look(*each) for each in zip(shapes, colours, textures, sizes, strict=True)]


def _draw_sizes(count: int, rng: np.random.Generator) -> list[str]:
    """Size classes of which at least one stands out, at most two of them large."""
    plan = rng.random()
    if plan < 0.4:
        sizes = ["large"] + [("small", "medium")[i] for i in rng.integers(0, 2, count - 1)]
    elif plan < 0.75:
        sizes = ["small"] + ["large"] * int(rng.integers(0, 3))
        sizes += ["medium"] * (count - len(sizes))
    else:
        sizes = ["large", "small"] + [("small", "medium", "medium")[i] for i in rng.integers(0, 3, count - 2)]
    return [sizes[i] for i in rng.permutation(count)]


def _place(sprites: list[Sprite], looks: list[Look], canvas: tuple[int, int], rng: np.random.Generator
           ) -> tuple[list[tuple[int, int]], np.ndarray] | None:  # fmt: skip
    """Finds a place for every sprite.

    Args:
        sprites: From back to front.
        looks: Of the same objects.
        canvas: Height and width in pixels.
        rng: The source of chance.

    Returns:
        The (y, x) of each sprite's upper left corner and int8 `[h, w]` with the index of the object seen at each
        pixel (-1 for none), or None when this attempt found no room.
    """
    owner = np.full(canvas, -1, np.int8)
    corners: list[tuple[int, int]] = []
    full = [int(sprite.mask.sum()) for sprite in sprites]
    visible = list(full)
    for index, sprite in enumerate(sprites):
        height, width = sprite.mask.shape
        crowd = rng.random() < 0.4  # may this one cover others?
        spots = rng.random((16, 2))
        for attempt, (row, column) in enumerate(spots):
            y = _MARGIN + int(row * (canvas[0] - height - 2 * _MARGIN + 1))
            x = _MARGIN + int(column * (canvas[1] - width - 2 * _MARGIN + 1))
            window = owner[y : y + height, x : x + width]
            covered = np.bincount(window[sprite.mask] + 1, minlength=index + 1)[1:]
            if covered.sum() > (0.4 * full[index] if crowd or attempt > 11 else 0):
                continue
            left = [visible[i] - int(covered[i]) for i in range(index)]
            behind = np.flatnonzero(covered).tolist()
            if all(left[i] >= max(MIN_VISIBLE_SHARE * full[i], MIN_VISIBLE_AREA) for i in behind) and all(
                looks[i].colour != looks[index].colour
                for i in behind  # or nobody could tell them apart
            ):
                break
        else:
            return None
        window[sprite.mask] = index
        visible[:index] = left
        corners.append((y, x))
    return corners, owner


def _background(canvas: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A muted background with soft variation and clutter: float32 `[h, w, 3]`, 0..255."""
    height, width = canvas
    base = rng.uniform(98, 168) + rng.uniform(-12, 12, 3)
    corners = (base + rng.uniform(-14, 14, (2, 2, 1)) + rng.uniform(-5, 5, (2, 2, 3))).astype(np.float32)
    image: np.ndarray = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    style = rng.random()
    if style < 0.5:  # blotches
        cells = int(rng.integers(6, 24))
        blotches = rng.uniform(-9, 9, (cells, cells)).astype(np.float32)
        image += cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    elif style < 0.75:  # weave
        y, x = np.ogrid[:height, :width]
        wave = np.sin(x * rng.uniform(0.3, 1.2)) + np.sin(y * rng.uniform(0.3, 1.2))
        image += (rng.uniform(1.5, 4) * wave)[..., None].astype(np.float32)
    grain = rng.integers(-5, 6, (height, width), dtype=np.int8)
    image += grain[..., None]
    return _clutter(image, base, rng)


def _clutter(image: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds faint thin lines and grey crumbs, in place, to float32 `[h, w, 3]`; returns it."""
    height, width = image.shape[:2]
    for x0, y0, x1, y1, tone in rng.uniform(0, 1, (int(rng.integers(2, 6)), 5)):
        ends = (int(x0 * width), int(y0 * height)), (int(x1 * width), int(y1 * height))
        cv2.line(image, *ends, (base + 44 * (tone - 0.5)).tolist(), 1, cv2.LINE_8)
    for x, y, tone, size in rng.uniform(0, 1, (int(rng.integers(5, 16)), 4)):
        grey = float(base.mean() + 90 * (tone - 0.5))
        cv2.circle(image, (int(x * width), int(y * height)), int(size * 2.2), (grey, grey, grey), -1)
    return image


def _paste(image: np.ndarray, sprite: Sprite, corner: tuple[int, int], shadow: bool) -> None:
    """Draws a sprite, with its shadow, on float32 `[h, w, 3]` in place; `corner` is (y, x)."""
    y, x = corner
    height, width = sprite.alpha.shape
    if shadow:
        window = image[y + 3 : y + 3 + height, x + 3 : x + 3 + width]
        dark = cv2.blur(sprite.alpha, (3, 3))[: window.shape[0], : window.shape[1]].astype(np.float32)
        window *= (1 - dark * (0.4 / 255))[..., None]
    window = image[y : y + height, x : x + width]
    window += (sprite.paint - window) * (sprite.alpha.astype(np.float32) / 255)[..., None]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene; the generator alone decides it.

    Args:
        rng: The source of chance, from `scene_rng`.

    Returns:
        The scene, with every object visible by at least `MIN_VISIBLE_SHARE` and `MIN_VISIBLE_AREA`.
    """
    canvas = CANVASES[int(rng.choice(3, p=(0.7, 0.15, 0.15)))]
    looks = draw_looks(rng)
    sprites = [draw_sprite(look, rng) for look in looks]
    placed = _place(sprites, looks, canvas, rng)
    while placed is None:  # sizes are drawn again too: crowded sets would otherwise be tried for ever
        looks = draw_looks(rng)
        sprites = [draw_sprite(look, rng) for look in looks]
        placed = _place(sprites, looks, canvas, rng)
    corners, owner = placed
    image = _background(canvas, rng)
    shadows = rng.random(len(looks)) < (0.6 if rng.random() < 0.5 else 0.0)
    objects = []
    for index, (look, sprite, (y, x)) in enumerate(zip(looks, sprites, corners, strict=True)):
        _paste(image, sprite, (y, x), bool(shadows[index]))
        full_mask = np.zeros(canvas, bool)
        full_mask[y : y + sprite.mask.shape[0], x : x + sprite.mask.shape[1]] = sprite.mask
        mask = owner == index
        rows, columns = np.nonzero(mask)
        objects.append(SceneObject(
            look.shape, look.colour, look.texture, look.size, mask, full_mask,
            (float(columns.mean()), float(rows.mean())), len(rows), int(np.count_nonzero(sprite.mask)),
        ))  # fmt: skip
    return Scene(np.clip(image, 0, 255).astype(np.uint8), tuple(objects))
