from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.data.dense.labelled import Drawn, Given

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE
from segtune.data.dense.views import (
    DenseSubset,
    Reduced,
    Remembered,
    WithoutClasses,
    resize_image,
    resize_labels,
    resize_part,
)


def test_a_subset_keeps_ids_and_order():
    subset = DenseSubset(Drawn(5), [3, 1])
    assert (len(subset), subset.item_id(0), subset.item(1).id, subset.classes) == (2, "i3", "i1", Drawn.classes)


def test_pixels_of_excluded_classes_are_ignored_and_the_others_move_up():
    source = WithoutClasses(Given([[[0, 1, 2, IGNORE]]]), ["a"])
    assert source.classes == ("background", "b")
    assert source.item(0).labels.tolist() == [[0, IGNORE, 1, IGNORE]]
    assert WithoutClasses(Given([[[0, 1, 2, 2]]]), ["background"]).item(0).labels.tolist() == [[IGNORE, 0, 1, 1]]


def test_classes_that_do_not_exist_or_leave_nothing():
    with pytest.raises(ConfigError, match=r"(?s)data.exclude.*background, a, b.*found: c"):
        WithoutClasses(Given([]), ["c", "a"])
    with pytest.raises(ConfigError, match="too many classes"):
        WithoutClasses(Given([]), ["a", "b"])


@pytest.mark.parametrize(("old", "new"), [((36, 48), (9, 12)), ((7, 5), (3, 5)), ((4, 4), (9, 11)), ((13, 17), (5, 6))])
def test_labels_are_those_at_the_centres(old, new):
    labels = np.random.default_rng(0).integers(0, 9, old).astype(np.uint8)
    expected = np.empty(new, np.uint8)
    for row in range(new[0]):
        for column in range(new[1]):
            expected[row, column] = labels[
                int((row + 0.5) * old[0] / new[0] + 1e-9), int((column + 0.5) * old[1] / new[1] + 1e-9)
            ]
    np.testing.assert_array_equal(resize_labels(labels, new), expected)
    np.testing.assert_array_equal(resize_labels(labels, old), labels)


def test_images_shrink_by_their_mean():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert resize_image(image, (40, 60)) is image
    smooth = cv2.resize(cv2.GaussianBlur(image, (0, 0), 1.7), (15, 10), interpolation=cv2.INTER_AREA)
    shrunk = resize_image(image, (10, 15)).astype(float)
    assert shrunk.std() < 0.5 * image.std(), "antialiased: noise is averaged, not picked"
    assert np.corrcoef(shrunk.ravel(), smooth.ravel())[0, 1] > 0.9


def test_images_shrink_in_proportion_until_one_side_fits():
    item = Reduced(Drawn(1, (100, 60)), (20, 30)).item(0)
    assert item.image.shape == (50, 30, 3)
    assert item.labels.shape == (50, 30)
    assert item.id == "i0"
    whole = Drawn(1, (20, 60))
    np.testing.assert_array_equal(Reduced(whole, (20, 30)).item(0).image, whole.item(0).image)


def test_what_was_read_comes_from_memory_and_is_the_same():
    source = Drawn(4)
    memory = Remembered(source, 10**9)
    first = [memory.item(i) for i in range(4)]
    again = [memory.item(i) for i in range(4)]
    assert source.reads == 4
    for a, b, index in zip(first, again, range(4), strict=True):
        fresh = source.item(index)
        for item in (a, b):
            np.testing.assert_array_equal(item.image, fresh.image)
            np.testing.assert_array_equal(item.labels, fresh.labels)
    with pytest.raises(ValueError, match="read-only"):
        again[0].image[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        again[0].labels[0] = 0


def test_memory_is_bounded_and_keeps_what_came_first():
    source = Drawn(5)
    one = source.item(0).image.nbytes + source.item(0).labels.nbytes
    source.reads = 0
    memory = Remembered(source, int(2.5 * one))
    for _ in range(3):
        for index in range(5):
            memory.item(index)
    assert memory.kept_bytes <= 2.5 * one
    assert source.reads == 2 + 3 * 3


def test_filling_reads_what_there_is_room_for():
    source = Drawn(6)
    one = source.item(0).image.nbytes + source.item(0).labels.nbytes
    source.reads = 0
    Remembered(source, int(2.5 * one)).fill()
    assert source.reads == 3
    memory = Remembered(source, 10**9)
    memory.fill()
    source.reads = 0
    assert [memory.item(i).id for i in range(6)] == [f"i{i}" for i in range(6)]
    assert source.reads == 0


@pytest.mark.parametrize(("old", "new"), [((60, 80), (24, 36)), ((24, 36), (60, 80)), ((50, 70), (50, 33))])
def test_a_part_is_resized_as_it_would_be_in_the_whole(old, new):
    """Parts at any place, on the grid of the resized image, are what the whole image shows there."""
    image = np.random.default_rng(0).integers(0, 256, (*old, 3)).astype(np.uint8)
    whole = resize_image(image, new).astype(int)
    high, wide = old[0] / new[0], old[1] / new[1]
    for top, left, height, width in ((0, 0, *new), (0, 0, 9, 11), (new[0] - 9, new[1] - 11, 9, 11), (5, 7, 13, 17)):
        box = (top * high, left * wide, min((top + height) * high, old[0]), min((left + width) * wide, old[1]))
        part = resize_part(image, box, (height, width))
        assert np.abs(part - whole[top : top + height, left : left + width]).max() <= 1
