"""Scenes: what is drawn is what is recorded, and the seed alone decides it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from segtune.data.sources.synthetic.objects import COLOURS, SHAPES, SIZES, TEXTURES, Look, draw_sprite
from segtune.data.sources.synthetic.scene import CANVASES, MIN_VISIBLE_AREA, MIN_VISIBLE_SHARE, draw_scene, scene_rng


@pytest.fixture(scope="module")
def scenes() -> list:
    return [draw_scene(scene_rng(5, 99, index)) for index in range(150)]


def every_look() -> Iterator[Look]:
    for shape in SHAPES:
        for colour in COLOURS:
            yield Look(shape, colour, "plain", "medium")


def test_objects_are_visible_and_disjoint(scenes: list) -> None:
    for scene in scenes:
        assert scene.image.shape[:2] in CANVASES
        assert scene.image.dtype == np.uint8
        assert 4 <= len(scene.objects) <= 6
        assert np.sum([one.mask for one in scene.objects], axis=0).max() == 1
        for one in scene.objects:
            assert one.area == one.mask.sum() >= max(MIN_VISIBLE_AREA, MIN_VISIBLE_SHARE * one.full_mask.sum())
            assert not (one.mask & ~one.full_mask).any()
            rows, columns = np.nonzero(one.mask)
            assert one.centre == pytest.approx((columns.mean(), rows.mean()))


def test_later_objects_hide_earlier_ones(scenes: list) -> None:
    hidden = 0
    for scene in scenes:
        for index, one in enumerate(scene.objects):
            in_front = np.zeros_like(one.mask)
            for other in scene.objects[index + 1 :]:
                in_front |= other.full_mask
            assert np.array_equal(one.mask, one.full_mask & ~in_front)
            hidden += bool((one.full_mask & in_front).any())
    assert hidden > 20, "occlusion should be common"


def test_same_seed_same_scene_and_other_seed_other_scene() -> None:
    first, again, other = draw_scene(scene_rng(1, 2, 3)), draw_scene(scene_rng(1, 2, 3)), draw_scene(scene_rng(1, 2, 4))
    assert np.array_equal(first.image, again.image)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first.objects, again.objects, strict=True))
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_everything_is_drawn(scenes: list) -> None:
    seen = [one for scene in scenes for one in scene.objects]
    for key, names in (("shape", SHAPES), ("colour", COLOURS), ("texture", TEXTURES), ("size", SIZES)):
        assert {getattr(one, key) for one in seen} == set(names)
    assert {scene.image.shape[:2] for scene in scenes} == set(CANVASES)


def test_colours_stay_apart_under_shading() -> None:
    """The middle colour of an object is nearer to others of its name than to any other colour."""
    means: dict[str, list[np.ndarray]] = {colour: [] for colour in COLOURS}
    for index, look in enumerate(every_look()):
        sprite = draw_sprite(look, scene_rng(0, 98, index))
        means[look.colour].append(np.median(sprite.paint[sprite.mask].astype(float), axis=0))
    centres = {colour: np.mean(points, axis=0) for colour, points in means.items()}
    for colour, points in means.items():
        for point in points:
            assert min(centres, key=lambda name: float(np.abs(centres[name] - point).sum())) == colour


@pytest.mark.parametrize("texture", ["striped", "dotted", "checked"])
def test_textures_show(texture: str) -> None:
    for colour in COLOURS:
        sprite = draw_sprite(Look("disc", colour, texture, "small"), scene_rng(0, 97))
        spread = sprite.paint[sprite.mask].astype(float).sum(axis=1).std()
        assert spread > 40, f"{texture} is hardly visible on {colour}"


def test_ring_has_a_hole() -> None:
    sprite = draw_sprite(Look("ring", "red", "plain", "small"), scene_rng(0, 96))
    height, width = sprite.mask.shape
    assert not sprite.mask[height // 2, width // 2]
    assert sprite.mask[height // 2].any()
