from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.factory import group

from segtune.core.records import IGNORE, Example, Group, Query
from segtune.core.rng import generator
from segtune.data.augment import augment
from segtune.data.config import AugmentConfig

FLIP = AugmentConfig(flip=1.0)


def _asking(text: str, explanation: str = "") -> Group:
    drawn = group(0)
    first, *rest = drawn.examples
    return replace(drawn, examples=(replace(first, query=Query(text, True, explanation=explanation)), *rest))


def _equal(a: Group, b: Group) -> bool:
    targets = all(np.array_equal(x.target, y.target) for x, y in zip(a.examples, b.examples, strict=True))
    return np.array_equal(a.image, b.image) and targets


def test_a_flip_mirrors_image_and_masks_together():
    drawn = group(1, queries=3)
    turned = augment(drawn, FLIP, generator(0))
    np.testing.assert_array_equal(turned.image, drawn.image[:, ::-1])
    for new, old in zip(turned.examples, drawn.examples, strict=True):
        np.testing.assert_array_equal(new.target, old.target[:, ::-1])
        assert (new.id, new.query) == (old.id, old.query)


@pytest.mark.parametrize(
    "text",
    ["the box on the left", "Rightmost disc?", "the LEFT one", "west of the tree", "turn counterclockwise",
     "the north-east corner", "the southwestern one", "left-hand side"],
)  # fmt: skip
def test_no_flip_where_a_text_says_a_side(text):
    drawn = _asking(text)
    assert _equal(augment(drawn, FLIP, generator(0)), drawn)


@pytest.mark.parametrize("text", ["the brightest one", "the upright box", "the beast", "at least one"])
def test_other_words_do_not_stop_a_flip(text):
    drawn = _asking(text)
    assert not _equal(augment(drawn, FLIP, generator(0)), drawn)


@pytest.mark.parametrize(
    "text", ["左边的盒子", "das linke Kästchen", "la boîte de gauche", "the LHS box", "at 3 o'clock"]
)
def test_no_flip_where_a_text_says_a_side_in_another_way(text):
    drawn = _asking(text)
    assert _equal(augment(drawn, FLIP, generator(0)), drawn)


def test_the_switch_overrules_what_texts_say():
    sided, plain = _asking("the box on the left"), _asking("the box")
    for mirror, mirrored in (("always", (True, True)), ("never", (False, False)), ("auto", (False, True))):
        config = AugmentConfig(flip=1.0, mirror=mirror)
        found = tuple(not _equal(augment(item, config, generator(0)), item) for item in (sided, plain))
        assert found == mirrored, mirror


def test_no_flip_where_the_answer_would_say_a_side():
    drawn = _asking("the box", explanation="It is the box on the left.")
    assert _equal(augment(drawn, FLIP, generator(0)), drawn)


@pytest.mark.parametrize("seed", range(30))
def test_a_crop_keeps_at_least_half_of_every_target(seed):
    drawn = group(seed, queries=3)
    cut = augment(drawn, AugmentConfig(crop=0.6), generator(seed))
    assert cut.image.shape[:2] == cut.examples[0].target.shape
    for new, old in zip(cut.examples, drawn.examples, strict=True):
        assert 2 * int((new.target == 1).sum()) >= int((old.target == 1).sum())


def test_a_crop_does_cut_and_cuts_image_and_masks_alike():
    ys, xs = np.mgrid[:50, :70]
    image = np.stack([ys, xs, xs], axis=2).astype(np.uint8)
    target = (xs > 30).astype(np.uint8)
    target[:, 60:] = IGNORE
    drawn = Group("g", image, (Example("g#0", Query("the box", False), target),))
    sizes = set()
    for seed in range(20):
        cut = augment(drawn, AugmentConfig(crop=0.5), generator(seed))
        sizes.add(cut.image.shape)
        seen = cut.image[:, :, 1]
        np.testing.assert_array_equal(cut.examples[0].target == 1, (seen > 30) & (seen < 60))
        np.testing.assert_array_equal(cut.examples[0].target == IGNORE, seen >= 60)
    assert len(sizes) > 5


def test_a_crop_of_a_narrow_image_leaves_pixels():
    image = np.zeros((1, 2, 3), np.uint8)
    drawn = Group("g", image, (Example("g#0", Query("the box", False), np.zeros((1, 2), np.uint8)),))
    for seed in range(20):
        assert augment(drawn, AugmentConfig(crop=0.9), generator(seed)).image.size > 0


def test_the_same_generator_gives_the_same_variant_and_another_another():
    drawn, config = group(2), AugmentConfig(flip=0.5, crop=0.3, color=0.3)
    first, again, other = (augment(drawn, config, generator(seed)) for seed in (5, 5, 6))
    assert _equal(first, again)
    assert not _equal(first, other)


def test_one_switch_moves_no_other():
    drawn = group(2)
    cut = augment(drawn, AugmentConfig(crop=0.3), generator(7))
    coloured = augment(drawn, AugmentConfig(crop=0.3, color=0.2), generator(7))
    assert all(np.array_equal(a.target, b.target) for a, b in zip(cut.examples, coloured.examples, strict=True))
    assert not np.array_equal(cut.image, coloured.image)


def test_colour_leaves_masks_alone_and_stays_in_range():
    drawn = group(3)
    for seed in range(5):
        coloured = augment(drawn, AugmentConfig(color=0.9), generator(seed))
        assert coloured.image.dtype == np.uint8
        assert not np.array_equal(coloured.image, drawn.image)
        assert all(a.target is b.target for a, b in zip(coloured.examples, drawn.examples, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_shared_arrays_are_never_written_to(seed):
    drawn = group(4, queries=2)
    shared = drawn.examples[0].target
    shared.flags.writeable = drawn.image.flags.writeable = False
    drawn = replace(drawn, examples=tuple(replace(example, target=shared) for example in drawn.examples))
    image, target = drawn.image.copy(), shared.copy()
    out = augment(drawn, AugmentConfig(flip=1.0, crop=0.5, color=0.5), generator(seed))
    for array in (out.image, *(example.target for example in out.examples)):
        if array is not shared and array is not drawn.image:
            assert not np.shares_memory(array, shared)
            assert not np.shares_memory(array, drawn.image)
    np.testing.assert_array_equal(drawn.image, image)
    np.testing.assert_array_equal(shared, target)


def test_nothing_is_changed_without_a_switch():
    drawn = group(5)
    same = augment(drawn, AugmentConfig(), generator(0))
    assert same.image is drawn.image
    assert same.examples == drawn.examples


def _plane(height: int, width: int, box: tuple[slice, slice]) -> Group:
    """An image whose pixels say where they were, with one target."""
    ys, xs = np.mgrid[:height, :width]
    image = np.stack([ys, xs, np.full_like(xs, 7)], axis=2).astype(np.uint8)
    target = np.zeros((height, width), np.uint8)
    target[box] = 1
    return Group("g", image, (Example("g#0", Query("the box", False), target),))


def test_nothing_becomes_more_than_twice_as_large():
    """The margin around a smaller image is kept in memory: twice is four times the pixels."""
    with pytest.raises(ValueError, match="scale"):
        AugmentConfig(scale=1.5)


@pytest.mark.parametrize("seed", range(40))
def test_a_change_of_scale_keeps_every_target_whole_and_in_its_place(seed):
    drawn = _plane(60, 90, (slice(20, 30), slice(50, 75)))
    seen = augment(drawn, AugmentConfig(scale=1.0), generator(seed))
    (example,) = seen.examples
    assert example.target.shape == seen.image.shape[:2]
    assert int((example.target == 1).sum()) == 250
    there = seen.image[example.target == 1]
    assert (there[:, 0].min(), there[:, 0].max(), there[:, 1].min(), there[:, 1].max()) == (20, 29, 50, 74)
    assert 0.5 - 0.02 <= seen.image.shape[0] / 60 <= 2 + 0.02
    assert seen.image.shape[1] / 90 == pytest.approx(seen.image.shape[0] / 60, abs=0.03)  # its own shape


def test_scales_spread_evenly_to_both_sides_and_windows_move():
    drawn = _plane(60, 90, (slice(28, 32), slice(40, 44)))
    seen = [augment(drawn, AugmentConfig(scale=1.0), generator(seed)) for seed in range(200)]
    factors = np.array([60 / group.image.shape[0] for group in seen])
    assert factors.max() > 1.9
    assert factors.min() < 0.53
    assert 0.4 < (factors > 1).mean() < 0.6
    corners = {tuple(group.image[0, 0, :2]) for group in seen if group.image.shape[0] < 50}
    assert len(corners) > 50


def test_a_large_target_bounds_how_near_the_window_comes():
    drawn = _plane(60, 90, (slice(5, 55), slice(0, 90)))
    seen = [augment(drawn, AugmentConfig(scale=1.0), generator(seed)) for seed in range(50)]
    assert min(group.image.shape[0] for group in seen) == 60
    assert all(int((group.examples[0].target == 1).sum()) == 50 * 90 for group in seen)


def test_what_lies_around_a_smaller_image_is_its_mean_colour_and_ignored():
    drawn = _plane(60, 90, (slice(28, 32), slice(40, 44)))
    seed = next(s for s in range(50) if augment(drawn, AugmentConfig(scale=1.0), generator(s)).image.shape[0] > 80)
    seen = augment(drawn, AugmentConfig(scale=1.0), generator(seed))
    around = seen.examples[0].target == IGNORE
    assert int((~around).sum()) == 60 * 90
    mean = drawn.image.reshape(-1, 3).mean(axis=0)
    assert np.abs(seen.image[around] - mean).max() <= 0.5
    rows, columns = np.flatnonzero((~around).any(axis=1)), np.flatnonzero((~around).any(axis=0))
    inside = seen.image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(inside, drawn.image)


def test_without_a_target_any_part_may_be_seen():
    drawn = _plane(60, 90, (slice(0, 0), slice(0, 0)))
    for seed in range(20):
        seen = augment(drawn, AugmentConfig(scale=1.0), generator(seed))
        assert seen.image.size > 0
        assert not (seen.examples[0].target == 1).any()


def test_scale_moves_no_other_switch_and_nothing_drawn_later():
    drawn, plain, scaled = group(2), generator(7), generator(7)
    config = AugmentConfig(flip=0.5, color=0.2)
    augment(drawn, config, plain)
    seen = augment(drawn, config.model_copy(update={"scale": 0.5}), scaled)
    assert plain.random() == scaled.random()
    again = augment(drawn, config.model_copy(update={"scale": 0.5}), generator(7))
    assert _equal(seen, again)


def test_a_tiny_image_survives_any_scale():
    image = np.zeros((1, 2, 3), np.uint8)
    drawn = Group("g", image, (Example("g#0", Query("the box", False), np.ones((1, 2), np.uint8)),))
    for seed in range(20):
        seen = augment(drawn, AugmentConfig(scale=1.0), generator(seed))
        assert int((seen.examples[0].target == 1).sum()) == 2
