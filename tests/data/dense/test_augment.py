from __future__ import annotations

import logging

import numpy as np
import pytest
from tests.data.dense.labelled import Drawn

from segtune.core.records import IGNORE, LabelledImage
from segtune.core.rng import generator
from segtune.data.dense.augment import augment_labelled
from segtune.data.dense.config import DenseAugmentConfig
from segtune.data.dense.loader import mirror_of
from segtune.data.dense.views import Reduced
from segtune.ops.sides import class_mirror

ITEM = Drawn(1).item(0)
EVERYTHING = DenseAugmentConfig(flip=0.5, flip_vertical=0.5, zoom=(0.5, 2), stretch=0.3, rotate=20, color=0.3)


def _drawn(seed: int = 0, item: LabelledImage = ITEM, **changes: object) -> LabelledImage:
    return augment_labelled(item, DenseAugmentConfig(**changes), generator(seed, "test"))


def _bright_where_labelled(item: LabelledImage) -> tuple[float, float]:
    """The share of pixels of each class that have its colour: image and labels still fit."""
    left, right = (item.image[item.labels == label] for label in (1, 2))
    return float((left[:, 0] > 120).mean()), float((right[:, 1] > 120).mean())


def test_nothing_is_changed_where_nothing_may_happen():
    same = _drawn()
    np.testing.assert_array_equal(same.image, ITEM.image)
    np.testing.assert_array_equal(same.labels, ITEM.labels)
    assert same.id == ITEM.id


def test_the_given_item_is_left_as_it_was_even_where_it_may_not_be_written():
    image, labels = ITEM.image.copy(), ITEM.labels.copy()
    image.flags.writeable = labels.flags.writeable = False
    for seed in range(20):
        found = augment_labelled(LabelledImage("a", image, labels), EVERYTHING, generator(seed))
        assert found.image.flags.c_contiguous
        assert found.labels.flags.c_contiguous
        assert found.labels.shape == found.image.shape[:2]
        assert (found.labels.dtype, found.image.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(image, ITEM.image)


def test_the_generator_decides():
    for seed in range(5):
        a, b = (augment_labelled(ITEM, EVERYTHING, generator(seed)) for _ in range(2))
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert len({augment_labelled(ITEM, EVERYTHING, generator(seed)).image.tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize(("key", "axis"), [("flip", 1), ("flip_vertical", 0)])
def test_mirror_images(key, axis):
    found = _drawn(**{key: 1.0})
    np.testing.assert_array_equal(found.image, np.flip(ITEM.image, axis))
    np.testing.assert_array_equal(found.labels, np.flip(ITEM.labels, axis))


def test_zooming_in_cuts_a_window_of_untouched_pixels():
    shapes, corners = set(), set()
    for seed in range(40):
        found = _drawn(seed, zoom=(1.0, 2.0))
        height, width = found.labels.shape
        shapes.add((height, width))
        assert ITEM.labels.shape[0] / 2 - 1 <= height <= ITEM.labels.shape[0]
        assert abs(height / width - ITEM.labels.shape[0] / ITEM.labels.shape[1]) < 0.05
        places = [
            (y, x)
            for y in range(ITEM.labels.shape[0] - height + 1)
            for x in range(ITEM.labels.shape[1] - width + 1)
            if np.array_equal(ITEM.image[y : y + height, x : x + width], found.image)
        ]
        ((y, x),) = places
        np.testing.assert_array_equal(ITEM.labels[y : y + height, x : x + width], found.labels)
        corners.add((y, x))
    assert len(shapes) > 8
    assert len(corners) > 15


def test_zooming_out_shows_the_whole_image_in_its_mean_colour():
    found = _drawn(zoom=(0.5, 0.5))
    assert found.labels.shape == (72, 96)
    outside = 72 * 96 - 36 * 48
    assert (found.labels == IGNORE).sum() == outside + (ITEM.labels == IGNORE).sum()
    for label in (0, 1, 2):
        assert (found.labels == label).sum() == (ITEM.labels == label).sum()
    mean = ITEM.image.reshape(-1, 3).mean(axis=0).round()
    assert (found.image == mean).all(axis=2).sum() >= outside


def test_stretching_changes_the_shape_of_the_window():
    ratios = [(lambda s: s[0] / s[1])(_drawn(seed, zoom=(1.5, 1.5), stretch=0.5).labels.shape) for seed in range(30)]
    plain = 36 / 48
    assert plain / 1.55 < min(ratios) < 0.85 * plain
    assert 1.15 * plain < max(ratios) < 1.55 * plain


def test_turning_keeps_image_and_labels_together_and_ignores_what_lay_outside():
    for seed in range(10):
        found = _drawn(seed, rotate=30.0)
        assert found.labels.shape == ITEM.labels.shape
        assert min(_bright_where_labelled(found)) > 0.85  # borders are mixed
        assert (found.labels == IGNORE).sum() >= 0.9 * (ITEM.labels == IGNORE).sum()
    assert min(_bright_where_labelled(ITEM)) == 1


def test_a_quarter_turn_is_exact():
    square = Drawn(1, (40, 40)).item(0)

    class Always:
        """A generator that draws the largest of everything."""

        def random(self, n: int) -> np.ndarray:
            return np.full(n, 0.999)

        def uniform(self, low: float, high: float, n: int | None = None) -> object:
            return high if n is None else np.full(n, high)

    found = augment_labelled(square, DenseAugmentConfig(rotate=90), Always())  # type: ignore[arg-type]
    turned = [np.array_equal(found.labels, np.rot90(square.labels, k)) for k in (1, 3)]
    assert sum(turned) == 1
    k = 1 if turned[0] else 3
    np.testing.assert_array_equal(found.image, np.rot90(square.image, k))


def test_colours_change_as_one_would_by_hand_and_labels_do_not():
    found = _drawn(seed=3, color=0.4)
    rng = generator(3, "test")
    rng.random(2), rng.random(2), rng.random(2)
    brightness, contrast, saturation = 1 + 0.4 * rng.uniform(-1, 1, 3)
    pixels = ITEM.image.astype(float) * brightness
    pixels = (pixels - pixels.mean()) * contrast + pixels.mean()
    grey = pixels.mean(axis=2, keepdims=True)
    expected = np.clip((pixels - grey) * saturation + grey, 0, 255)
    assert np.abs(found.image - expected).max() <= 1  # OpenCV counts in 1/1024ths
    np.testing.assert_array_equal(found.labels, ITEM.labels)


def test_no_switch_moves_another():
    plain = _drawn(5, zoom=(1.0, 2.0))
    for changes in ({"flip": 1.0}, {"color": 0.3}):
        other = _drawn(5, zoom=(1.0, 2.0), **changes)
        labels = np.flip(other.labels, 1) if "flip" in changes else other.labels
        np.testing.assert_array_equal(labels, plain.labels)


def test_an_image_of_one_pixel():
    tiny = LabelledImage("a", np.full((1, 1, 3), 7, np.uint8), np.ones((1, 1), np.uint8))
    for seed in range(10):
        assert augment_labelled(tiny, EVERYTHING, generator(seed)).labels.size >= 1


def _sided() -> LabelledImage:
    """A left lung at the left edge, a right one at the right edge, and an ignored row."""
    labels = np.zeros((8, 12), np.uint8)
    labels[:, :4], labels[:, 8:] = 1, 2
    labels[0] = IGNORE
    return LabelledImage("a", np.zeros((8, 12, 3), np.uint8), labels)


def test_classes_that_differ_by_a_side_change_places_in_a_mirror_image():
    item, mirror = _sided(), class_mirror(("background", "left_lung", "right_lung"))
    seen = augment_labelled(item, DenseAugmentConfig(flip=1.0), generator(0), mirror)
    np.testing.assert_array_equal(seen.labels, item.labels)
    always = augment_labelled(item, DenseAugmentConfig(flip=1.0), generator(0))
    np.testing.assert_array_equal(always.labels, item.labels[:, ::-1])
    upside_down = augment_labelled(item, DenseAugmentConfig(flip_vertical=1.0), generator(0), mirror)
    np.testing.assert_array_equal(upside_down.labels, item.labels)


def test_no_mirror_image_where_a_side_has_no_partner():
    item, mirror = _sided(), class_mirror(("background", "left_lung", "heart"))
    seen = augment_labelled(item, DenseAugmentConfig(flip=1.0, flip_vertical=1.0), generator(0), mirror)
    np.testing.assert_array_equal(seen.labels, item.labels)
    never = augment_labelled(item, DenseAugmentConfig(flip=1.0, mirror="never"), generator(0))
    np.testing.assert_array_equal(never.labels, item.labels)


def test_the_switch_moves_nothing_else():
    config = EVERYTHING.model_copy(update={"flip": 1.0, "flip_vertical": 0.0})
    swapping = class_mirror(("background", "left", "right"))
    for seed in range(5):
        one = augment_labelled(ITEM, config, generator(seed))
        other = augment_labelled(ITEM, config, generator(seed), swapping)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels == 1, other.labels == 2)


class _Named(Drawn):
    """Drawn images whose classes have other names."""

    def __init__(self, *names: str) -> None:
        super().__init__(1)
        self.classes = names


def test_a_loader_finds_the_partners_and_tells_what_it_does_not_do(monkeypatch):
    told = []
    monkeypatch.setattr(
        logging.getLogger("segtune.data.dense.loader"), "warning", lambda text, *words: told.append(text % words)
    )
    flips = DenseAugmentConfig(flip=0.5, flip_vertical=0.5)
    found = mirror_of(Reduced(_Named("background", "left_hand", "right_hand"), (1, 1)), flips)
    assert found is not None
    assert found.order == (0, 2, 1)
    assert told == [
        "data.augment.flip_vertical does nothing: the name or words of left_hand, right_hand say a side "
        "or a height (data.augment.mirror=always mirrors all the same)"
    ]
    told.clear()
    source = _Named("background", "left_hand", "hand")
    mirror_of(source, DenseAugmentConfig())
    assert not told, "nobody asks for a mirror image"
    mirror_of(source, DenseAugmentConfig(flip=1))
    assert "left_hand" in told[0]
    assert mirror_of(source, DenseAugmentConfig(flip=1, mirror="always")) is None


def test_texts_that_mean_a_class_count():
    source = _Named("background", "a", "b")
    source.said = {"a": ("the lane on the left",), "gone": ("the right one",)}
    found = mirror_of(Reduced(source, (1, 1)), DenseAugmentConfig())
    assert found is not None
    assert found.across
