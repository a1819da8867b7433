from __future__ import annotations

import json
from collections import Counter as Tally

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from tests.data.dense.labelled import Drawn, Given
from tests.external import shared_data

from segtune.core.errors import DataError
from segtune.core.records import IGNORE
from segtune.data.dense.balance import (
    MOST,
    ClassCounts,
    Counter,
    balanced_order,
    class_weights,
    count_classes,
    repeat_factors,
)
from segtune.data.sources.masks import MaskFolder


def _counts(rows: object) -> ClassCounts:
    table = np.asarray(rows, np.int64)
    return ClassCounts(tuple(f"c{i}" for i in range(table.shape[1])), table, 0)


def test_counts_by_hand():
    counts = count_classes(Given([[[0, 0, 1], [1, 1, IGNORE]], [[0, IGNORE]]]))
    assert counts.pixels.tolist() == [3, 3, 0]
    assert counts.images.tolist() == [2, 1, 0]
    assert (counts.ignored, counts.absent) == (2, ("b",))
    assert json.loads(json.dumps(counts.to_dict())) == {
        "images": 2, "ignored_pixels": 2,
        "classes": {"background": {"pixels": 3, "images": 2}, "a": {"pixels": 3, "images": 1},
                    "b": {"pixels": 0, "images": 0}},
    }  # fmt: skip
    assert len(count_classes(Drawn(5), 2).per_image) == 2
    assert count_classes(Given([])).pixels.tolist() == [0, 0, 0]


def test_the_table_is_for_people():
    table = count_classes(Given([[[0, 0, 1, IGNORE]]])).table(np.array([1.0, 2.5, 3.0]))
    assert table.splitlines()[2].split() == ["a", "1", "33.33%", "1", "2.5"]
    assert table.splitlines()[-1].split() == ["(ignored)", "1"]


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(DataError, match=r"(?s)0 to 2 and 255.*found: 7"):
        Counter(("a", "b", "c")).add(np.array([[0, 7]], np.uint8))


def test_weights_are_inverse_frequencies_rescaled_to_the_range():
    pixels = [900, 50, 30, 20]
    weights = class_weights(_counts([pixels]), (30, 60), background=True)
    inverse = 1000 / np.array(pixels[1:], float)
    expected = 30 + 30 * (inverse - inverse.min()) / (inverse.max() - inverse.min())
    np.testing.assert_allclose(weights, [1, *expected], rtol=1e-6)
    assert weights.dtype == np.float32
    assert weights[1:].min() == 30
    assert weights[1:].max() == 60


def test_weights_without_background_follow_scikit_learn():
    pixels = [500, 300, 150, 50]
    weights = class_weights(_counts([pixels]), (1, 4), background=False)
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=np.repeat(np.arange(4), pixels))
    expected = 1 + 3 * (theirs - theirs.min()) / (theirs.max() - theirs.min())
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_weights_of_equal_and_single_classes():
    np.testing.assert_array_equal(class_weights(_counts([[10, 5]]), (3, 9), background=True), [1, 3])
    np.testing.assert_array_equal(class_weights(_counts([[5, 5, 5]]), (3, 9), background=False), [3, 3, 3])
    np.testing.assert_array_equal(class_weights(_counts([[0, 5]]), (3, 9), background=True), [1, 3])


def test_a_class_without_pixels_has_no_weight():
    with pytest.raises(DataError, match=r"(?s)none of c1.*data.exclude=\[c1\]"):
        class_weights(_counts([[5, 0, 5]]), (1, 2), background=True)


def test_repeat_factors_are_those_of_lvis():
    counts = _counts([[5, 0, 0], [5, 1, 0], [5, 0, 0], [5, 2, 9]])
    np.testing.assert_allclose(repeat_factors(counts), [1, 2**0.5, 1, 2])
    rare = np.zeros((1000, 2), int)
    rare[:, 0], rare[0, 1] = 1, 1
    assert repeat_factors(_counts(rare))[0] == MOST
    np.testing.assert_array_equal(repeat_factors(_counts([[0, 0], [1, 0]])), [1, 2**0.5])


def test_an_epoch_is_as_long_as_the_data_and_images_come_in_proportion():
    rng = np.random.default_rng(0)
    counts = _counts(np.column_stack([np.ones(60, int), rng.random(60) < 0.3, rng.random(60) < 0.05]))
    expected = repeat_factors(counts) * 60 / repeat_factors(counts).sum()
    total: Tally[int] = Tally()
    epochs = 300
    for epoch in range(epochs):
        order = balanced_order(counts, 3, epoch)
        assert len(order) == 60
        tally = Tally(order)
        for index in range(60):
            assert np.floor(expected[index] - 1e-9) <= tally[index] <= np.ceil(expected[index] + 1e-9)
        total.update(order)
    seen = np.array([total[index] for index in range(60)]) / epochs
    np.testing.assert_allclose(seen, expected, atol=0.12)


def test_order_is_decided_by_seed_and_epoch():
    counts = count_classes(Drawn(9))
    assert balanced_order(counts, 1, 2) == balanced_order(counts, 1, 2)
    assert balanced_order(counts, 1, 2) != balanced_order(counts, 1, 3)
    assert balanced_order(counts, 1, 2) != balanced_order(counts, 2, 2)
    assert sorted(balanced_order(counts, 0, 0)) == list(range(9)), "where no image is rarer, all come once"
    assert balanced_order(_counts(np.zeros((0, 2))), 0, 0) == []


@pytest.mark.external
def test_rare_classes_of_street_photographs_come_more_often():
    counts = count_classes(MaskFolder(shared_data("camvid"), "train", limit=150))
    index = counts.classes.index("bicyclist")
    before = counts.images[index]
    after = np.mean([(counts.per_image[balanced_order(counts, 0, e)][:, index] > 0).sum() for e in range(5)])
    assert after > before
