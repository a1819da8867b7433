"""Counts of single masks, with ignored pixels and empty ones."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.records import IGNORE
from segtune.metrics.counts import Counts, count_pixels, iou

TARGET = np.array([[0, 0, 1, 1], [0, IGNORE, IGNORE, 1]], np.uint8)


def test_ignored_pixels_count_nowhere() -> None:
    prediction = np.array([[0, 1, 1, 0], [0, 1, 0, 1]], bool)
    counts = count_pixels(prediction, TARGET)
    assert counts == Counts(tp=2, fp=1, fn=1, tn=2)
    assert (counts.intersection, counts.union, counts.predicted, counts.target, counts.valid) == (2, 4, 3, 3, 6)
    assert iou(counts) == 0.5


def test_an_empty_target_wants_an_empty_prediction() -> None:
    empty = np.zeros((4, 4), np.uint8)
    one_pixel = np.zeros((4, 4), bool)
    one_pixel[2, 2] = True
    assert iou(count_pixels(np.zeros((4, 4), bool), empty)) == 1
    assert iou(count_pixels(one_pixel, empty)) == 0
    empty[2, 2] = IGNORE
    assert iou(count_pixels(one_pixel, empty)) == 1  # a prediction on ignored pixels alone is empty


def test_counts_add_up() -> None:
    assert Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40) == Counts(11, 22, 33, 44)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        count_pixels(np.zeros((2, 3), bool), TARGET)
    with pytest.raises(ValueError, match="other than"):
        count_pixels(np.zeros((2, 4), bool), TARGET + 1)
