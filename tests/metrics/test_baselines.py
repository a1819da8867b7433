"""Answers without looking: against direct computation at every threshold, and the choice of like words."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from segtune.core.records import IGNORE, Query
from segtune.metrics.baselines import THRESHOLDS, Baselines, MeanMasks, words_of
from segtune.metrics.counts import count_pixels, iou


def square(row: int, column: int, *, side: int = 16, size: int = 64) -> np.ndarray:
    target = np.zeros((size, size), np.uint8)
    target[row : row + side, column : column + side] = 1
    return target


def test_words_ignore_case_and_signs() -> None:
    assert words_of("The RED_car's wheel, no. 2!") == ("the", "red", "car", "s", "wheel", "no", "2")
    assert words_of("Où est l'été?") == ("où", "est", "l", "été")


def test_everything_and_nothing_need_no_training() -> None:
    baselines = Baselines()
    target = square(0, 0, side=32)
    target[32:] = IGNORE
    baselines.add(Query("a", False), target)
    baselines.add(Query("b", False), np.zeros((8, 8), np.uint8))
    assert baselines.result() == {
        "everything": {"gIoU": (0.5 + 0) / 2, "cIoU": 1024 / (2048 + 64)},
        "nothing": {"gIoU": 0.5, "cIoU": 0.0},
    }


def test_the_mean_leaves_ignored_pixels_out() -> None:
    means = MeanMasks()
    first, second = square(0, 0), square(0, 0)
    second[:8] = IGNORE
    third = np.zeros((64, 64), np.uint8)
    for target in (first, second, third):
        means.add("x", target)
    mean = means.mean()
    assert mean[4, 4] == pytest.approx(1 / 2)
    assert mean[12, 12] == pytest.approx(2 / 3)
    assert mean[40, 40] == 0


def test_a_reused_buffer_is_not_taken_for_the_same_mask() -> None:
    means, buffer = MeanMasks(), square(0, 0)
    means.add("a", buffer)
    buffer[:] = square(40, 40)
    means.add("b", buffer)
    assert means.mean_of_words("a")[0][8, 8] == 1
    assert means.mean_of_words("b")[0][48, 48] == 1


def test_same_words_come_first_then_the_rarest_shared_words() -> None:
    means = MeanMasks()
    means.add("the red car", square(0, 0))
    means.add("the blue car", square(0, 48))
    means.add("the tall tree", square(48, 0))
    mean, exact = means.mean_of_words("The red, car")
    assert exact
    assert mean[8, 8] == 1
    mean, exact = means.mean_of_words("what is the tree")
    assert not exact
    assert (mean[56, 8], mean[8, 8]) == (1, 0)
    mean, _ = means.mean_of_words("a car")  # two texts share it equally: both are averaged
    assert (mean[8, 8], mean[8, 56], mean[56, 8]) == (0.5, 0.5, 0)
    mean, exact = means.mean_of_words("zebra")
    assert not exact
    assert np.array_equal(mean, means.mean())


def test_one_training_text_with_every_word_in_common_is_still_found() -> None:
    means = MeanMasks()
    means.add("car", square(0, 0))
    mean, exact = means.mean_of_words("a car")
    assert not exact
    assert mean[8, 8] == 1


def test_thresholds_equal_direct_painting_of_the_mean() -> None:
    generator = np.random.default_rng(0)
    means, baselines_targets = MeanMasks(), []
    for index in range(30):
        row, column = generator.integers(0, 40, 2)
        (means.add("x", square(row, column)) if index < 20 else baselines_targets.append(square(row, column)))
    baselines = Baselines(means)
    for target in baselines_targets:
        target[60:] = IGNORE
        baselines.add(Query("x", False), target)
    stretched = cv2.resize(means.mean(), (64, 64), interpolation=cv2.INTER_LINEAR)
    by_threshold = {
        t: np.mean([iou(count_pixels(stretched >= t - 5e-6, target)) for target in baselines_targets])
        for t in THRESHOLDS
    }
    result = baselines.result()
    best = max(by_threshold, key=lambda t: by_threshold[t])
    assert result["mean_mask"]["threshold"] == best
    assert result["mean_mask"]["gIoU"] == pytest.approx(by_threshold[best])
    assert result["mean_mask_same_words"] == {**result["mean_mask"], "exact_texts": 10}


def test_images_of_another_size_than_the_grid() -> None:
    means = MeanMasks()
    means.add("x", square(0, 0, side=160, size=320))
    baselines = Baselines(means)
    target = np.zeros((200, 100), np.uint8)
    target[:100, :50] = 1
    baselines.add(Query("x", False), target)
    assert baselines.result()["mean_mask_same_words"]["gIoU"] > 0.95
